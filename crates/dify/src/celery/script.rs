//! Scripts that Redis runs for us, so that an element of any size is measured there and only a small one is sent. They
//! read only, but [`POP_REPLIES`], which takes our own replies.

use crate::redis::{Cmd, cmd};

/// KEYS: a list. ARGV: the largest element that is sent, the largest sum, then indices. Answers pairs of size and
/// element; one that is not sent is empty.
pub(super) const PEEK: &str = "
local largest, left = tonumber(ARGV[1]), tonumber(ARGV[2])
local found = {}
for i = 3, #ARGV do
  local element = redis.call('LINDEX', KEYS[1], ARGV[i])
  if element then
    found[#found + 1] = #element
    if #element <= largest and #element <= left then
      left = left - #element
      found[#found + 1] = element
    else
      found[#found + 1] = ''
    end
  end
end
return found";

/// KEYS: a hash. ARGV: as for [`PEEK`], then fields. Answers pairs for the fields that are there, each after its field.
pub(super) const PEEK_FIELDS: &str = "
local largest, left = tonumber(ARGV[1]), tonumber(ARGV[2])
local found = {}
for i = 3, #ARGV do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  if value then
    found[#found + 1] = ARGV[i]
    found[#found + 1] = #value
    if #value <= largest and #value <= left then
      left = left - #value
      found[#found + 1] = value
    else
      found[#found + 1] = ''
    end
  end
end
return found";

/// KEYS: a list of replies. ARGV: how many, and the largest that is sent; of a larger one, an empty text.
pub(super) const POP_REPLIES: &str = "
local found = {}
for i = 1, tonumber(ARGV[1]) do
  local element = redis.call('RPOP', KEYS[1])
  if not element then break end
  if #element <= tonumber(ARGV[2]) then found[#found + 1] = element else found[#found + 1] = '' end
end
return found";

/// Runs a script over one key.
pub(super) fn eval(script: &str, key: &str) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(script).arg(1).arg(key);
    command
}

//! Any bytes in a queue, a reply list or an event channel give a value or a reason, and what is given back from
//! `unacked` reads as the same task.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_wire::celery::{Event, Message, Reply, redelivered, unacked};

fuzz_target!(|data: &[u8]| {
    let _ = Message::parse(data);
    let _ = Event::parse(data);
    let _ = Reply::parse(data);
    if let (Ok(held), Ok(given_back)) = (unacked(data), redelivered(data)) {
        let again = Message::parse(&given_back).expect("what was read once is read again");
        assert_eq!((&again.id, &again.task), (&held.id, &held.task));
        assert_eq!(again.body, held.body);
        assert!(again.redelivered);
    }
});

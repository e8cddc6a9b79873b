"""Peers' own clients against a gateway: each check says `ok NAME`, the first that fails ends the script.

Arguments: the base URL with /v1, a virtual key, and the models to ask, separated by commas.
"""

import json
import sys

import httpx
import litellm
import openai
from pydantic import BaseModel

BASE, KEY, MODELS = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
litellm.drop_params = True
litellm.suppress_debug_info = True
client = openai.OpenAI(base_url=BASE, api_key=KEY, max_retries=0, timeout=30)

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Echo(BaseModel):
    echo: str


def ask(text):
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


def ok(name):
    print("ok", name, flush=True)


def chat(model):
    answer = client.chat.completions.create(model=model, messages=ask("one two"), temperature=0.5, max_tokens=50)
    choice = answer.choices[0]
    assert choice.message.content.startswith("Echo from "), answer
    assert choice.message.content.endswith("one two"), answer
    assert choice.finish_reason == "stop", answer
    assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0, answer
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens, answer


def stream(model):
    text, finish, usage = "", None, None
    chunks = client.chat.completions.create(
        model=model, messages=ask("[[words:20]]"), stream=True, stream_options={"include_usage": True}
    )
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    assert text.split() == [f"word{number}" for number in range(20)], text
    assert finish == "stop" and usage.completion_tokens == 20, (finish, usage)


def tools(model):
    first = ask("[[tool]]")
    answer = client.chat.completions.create(model=model, messages=first, tools=[TOOL], tool_choice="auto")
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls", answer
    call = choice.message.tool_calls[0]
    assert call.function.name == "weather" and "city" in json.loads(call.function.arguments), answer
    said = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call.id, "type": "function", "function": {"name": "weather", "arguments": call.function.arguments}}],
    }
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    answer = client.chat.completions.create(model=model, messages=first + [said, result], tools=[TOOL])
    assert "sunny" in answer.choices[0].message.content, answer


def streamed_tools(model):
    name, arguments, finish = "", "", None
    for chunk in client.chat.completions.create(model=model, messages=ask("[[tool]]"), tools=[TOOL], stream=True):
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or []:
                assert call.index == 0, chunk
                name += call.function.name or ""
                arguments += call.function.arguments or ""
            finish = choice.finish_reason or finish
    assert name == "weather" and "city" in json.loads(arguments) and finish == "tool_calls", (name, arguments, finish)


def structured(model):
    answer = client.chat.completions.parse(model=model, messages=ask("three"), response_format=Echo)
    assert answer.choices[0].message.parsed == Echo(echo="three"), answer


def errors(model):
    try:
        client.chat.completions.create(model="no-such-model", messages=ask("x"))
        raise AssertionError("an unknown model was answered")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    try:
        client.chat.completions.create(model=model, messages="x")
        raise AssertionError("messages that are no list were answered")
    except openai.BadRequestError:
        pass
    try:
        openai.OpenAI(base_url=BASE, api_key="sk-wrong", max_retries=0).models.list()
        raise AssertionError("a wrong key was let in")
    except openai.AuthenticationError:
        pass


def litellm_client(model):
    common = {"model": f"openai/{model}", "api_base": BASE, "api_key": KEY, "timeout": 30, "num_retries": 0}
    answer = litellm.completion(messages=ask("four"), **common)
    assert answer.choices[0].message.content.endswith("four"), answer
    text = ""
    for chunk in litellm.completion(messages=ask("[[words:5]]"), stream=True, **common):
        text += chunk.choices[0].delta.content or ""
    assert text.split() == [f"word{number}" for number in range(5)], text


def dify_plugin(model):
    """Reads a stream as Dify's OpenAI-compatible plugin does: split at LF LF, JSON or the end."""
    body = {
        "model": model,
        "stream": True,
        "messages": ask("[[words:7]]"),
        "user": "3d6cf0f2-0000-4000-8000-000000000000",
        "stream_options": {"include_usage": True},
        "temperature": 0.7,
    }
    headers = {"Authorization": f"Bearer {KEY}", "Accept-Charset": "utf-8"}
    text, usage, last_has_usage = "", None, False
    answer = httpx.post(f"{BASE}/chat/completions", json=body, headers=headers, timeout=30)
    assert answer.status_code == 200 and answer.encoding == "utf-8", answer.headers
    assert "\r" not in answer.text, answer.text
    for frame in answer.text.split("\n\n"):
        frame = frame.strip()
        if not frame or frame.startswith(":"):
            continue
        assert frame.startswith("data:") and frame.count("\n") == 0, frame
        data = frame.removeprefix("data:").strip()
        if data == "[DONE]":
            continue
        chunk = json.loads(data)
        assert "choices" in chunk, chunk
        last_has_usage = bool(chunk.get("usage"))
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            text += choice["delta"].get("content") or ""
    assert text.split() == [f"word{number}" for number in range(7)], text
    assert last_has_usage and usage["completion_tokens"] == 7, answer.text


def responses(model):
    answer = client.responses.create(model=model, instructions="Be brief.", input="one two", max_output_tokens=50)
    assert answer.status == "completed" and answer.output_text.startswith("Echo from "), answer
    assert answer.output_text.endswith("one two") and answer.model, answer
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0, answer


def streamed_responses(model):
    events = list(client.responses.create(model=model, input="[[words:20]]", stream=True))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text.split() == [f"word{number}" for number in range(20)], text
    assert events[0].type == "response.created" and events[-1].type == "response.completed", events
    assert [event.sequence_number for event in events] == list(range(len(events))), events
    assert events[-1].response.output_text == text and events[-1].response.usage.output_tokens == 20, events[-1]
    # The package's own accumulator refuses events out of their order.
    with client.responses.stream(model=model, input="[[words:5]]") as stream:
        final = stream.get_final_response()
    assert len(final.output_text.split()) == 5, final


def tools_of_responses(model):
    tool = {"type": "function", "strict": False, **TOOL["function"]}
    question = {"role": "user", "content": "[[tool]]"}
    answer = client.responses.create(model=model, input=[question], tools=[tool])
    call = answer.output[-1]
    assert call.type == "function_call" and call.name == "weather", answer
    assert "city" in json.loads(call.arguments), answer
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    said = [item.model_dump(exclude_none=True) for item in answer.output]
    answer = client.responses.create(model=model, input=[question, *said, result], tools=[tool])
    assert "sunny" in answer.output_text, answer
    with client.responses.stream(model=model, input=[question], tools=[tool]) as stream:
        kinds = [event.type for event in stream]
        call = stream.get_final_response().output[-1]
    assert "response.function_call_arguments.done" in kinds and "city" in json.loads(call.arguments), (kinds, call)


def structured_responses(model):
    answer = client.responses.parse(model=model, input="three", text_format=Echo)
    assert answer.output_parsed == Echo(echo="three"), answer
    schema = {"type": "object", "properties": {"echo": {"type": "string"}}, "required": ["echo"], "additionalProperties": False}
    form = {"format": {"type": "json_schema", "name": "echo", "schema": schema, "strict": True}}
    answer = client.responses.create(model=model, input="three", text=form)
    assert json.loads(answer.output_text) == {"echo": "three"}, answer


def refused_responses(model):
    try:
        client.responses.create(model=model, input="x", previous_response_id="resp_1")
        assert model == "native-responses", "an earlier response was taken by who has none"
    except openai.BadRequestError as error:
        assert error.param == "previous_response_id" and error.code == "not_convertible", error


def embeddings(model):
    answer = client.embeddings.create(model=model, input=["one", "two"], encoding_format="float")
    assert [item.index for item in answer.data] == [0, 1] and len(answer.data[0].embedding) == 8, answer
    # The package asks for base64 by itself and decodes it.
    assert client.embeddings.create(model=model, input="one").data[0].embedding[0] >= 0


RESPONSES = [responses, streamed_responses, tools_of_responses, structured_responses, refused_responses]
CHATS = [chat, stream, tools, streamed_tools, structured, errors, litellm_client, dify_plugin]
CHECKS = {"embed": [embeddings], "native": RESPONSES, "chat": CHATS + RESPONSES}
for wanted in MODELS:
    for check in CHECKS[wanted.split("-")[0]]:
        check(wanted)
        ok(f"{wanted} {check.__name__}")
listed = {model.id for model in client.models.list()}
assert set(MODELS) <= listed, listed
ok("models")

"""Checks an OpenAI-compatible server with the official SDK.

usage: openai_client.py BASE_URL MODEL      for example http://127.0.0.1:7460/v1 SmolLM2

Prints "ok NAME" or "FAILED NAME why" for each check; exits 1 if one failed.
"""

import sys

import openai

CHECKS = []
QUESTION = [{"role": "user", "content": "Write one sentence about the sea."}]


def check(function):
    """Registers a check under its name."""
    CHECKS.append(function)
    return function


def expect(condition, why):
    if not condition:
        raise AssertionError(why)


def chat(client, model, **options):
    options.setdefault("max_tokens", 16)
    options.setdefault("temperature", 0)
    return client.chat.completions.create(model=model, messages=QUESTION, **options)


@check
def models_list(client, model):
    names = [entry.id for entry in client.models.list()]
    expect(model in names, f"{model} is not among {names}")


@check
def models_retrieve(client, model):
    entry = client.models.retrieve(model)
    expect(entry.id == model and entry.object == "model", f"got {entry}")


@check
def chat_plain(client, model):
    answer = chat(client, model)
    expect(answer.object == "chat.completion", f"object is {answer.object}")
    expect(answer.model == model, f"model is {answer.model}")
    choice = answer.choices[0]
    expect(choice.message.role == "assistant", f"role is {choice.message.role}")
    expect(choice.message.content, "the answer is empty")
    expect(choice.finish_reason in ("stop", "length"), f"finish_reason is {choice.finish_reason}")
    usage = answer.usage
    expect(0 < usage.completion_tokens <= 16, f"{usage.completion_tokens} completion tokens")
    expect(usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, f"usage does not add up: {usage}")


@check
def chat_length(client, model):
    answer = chat(client, model, max_tokens=1)
    expect(answer.choices[0].finish_reason == "length", f"finish_reason is {answer.choices[0].finish_reason}")
    expect(answer.usage.completion_tokens == 1, f"{answer.usage.completion_tokens} completion tokens")


@check
def chat_content_parts(client, model):
    parts = [{"type": "text", "text": "Write one sentence "}, {"type": "text", "text": "about the sea."}]
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": parts}], max_tokens=16, temperature=0
    )
    expect(answer.choices[0].message.content == chat(client, model).choices[0].message.content, "parts are not joined")


@check
def chat_stream_with_usage(client, model):
    whole = chat(client, model)
    chunks = list(chat(client, model, stream=True, stream_options={"include_usage": True}))
    first, last = chunks[0], chunks[-1]
    expect(first.choices[0].delta.role == "assistant", "the first chunk has no role")
    expect(last.choices == [], "the last chunk has choices")
    expect(last.usage.completion_tokens == whole.usage.completion_tokens, f"usage is {last.usage}, not {whole.usage}")
    reasons = [c.choices[0].finish_reason for c in chunks[:-1] if c.choices[0].finish_reason]
    expect(reasons == [whole.choices[0].finish_reason], f"finish reasons are {reasons}")
    text = "".join(c.choices[0].delta.content or "" for c in chunks[:-1])
    expect(text == whole.choices[0].message.content, f"streamed {text!r}, not {whole.choices[0].message.content!r}")


@check
def chat_several_answers(client, model):
    answer = chat(client, model, n=3, temperature=1, seed=1)
    expect([choice.index for choice in answer.choices] == [0, 1, 2], "indexes are not 0, 1, 2")
    expect(all(choice.message.content for choice in answer.choices), "an answer is empty")


@check
def chat_stop(client, model):
    whole = chat(client, model).choices[0].message.content
    words = whole.split()
    expect(len(words) > 2, f"too short to stop in: {whole!r}")
    for stop in (words[2], [words[2], "never said"]):
        choice = chat(client, model, stop=stop).choices[0]
        expect(choice.message.content == whole[: whole.index(words[2])], f"got {choice.message.content!r}")
        expect(choice.finish_reason == "stop", f"finish_reason is {choice.finish_reason}")


@check
def chat_seed(client, model):
    texts = [chat(client, model, temperature=0.8, seed=seed).choices[0].message.content for seed in (7, 7)]
    expect(texts[0] == texts[1], f"one seed, two answers: {texts}")


@check
def completions(client, model):
    answer = client.completions.create(model=model, prompt="The sea is", max_tokens=8, temperature=0)
    expect(answer.object == "text_completion" and answer.choices[0].text, f"got {answer}")
    echo = client.completions.create(model=model, prompt="The sea is", max_tokens=8, temperature=0, echo=True)
    expect(echo.choices[0].text == "The sea is" + answer.choices[0].text, f"echo is {echo.choices[0].text!r}")


@check
def completions_several_prompts(client, model):
    prompts = ["The sea is", "A fish can"]
    answer = client.completions.create(model=model, prompt=prompts, max_tokens=8, temperature=0)
    single = client.completions.create(model=model, prompt=prompts[1], max_tokens=8, temperature=0)
    expect([choice.index for choice in answer.choices] == [0, 1], "indexes are not 0, 1")
    expect(answer.choices[1].text == single.choices[0].text, "the second prompt's answer differs from its own")


@check
def completions_stream(client, model):
    whole = client.completions.create(model=model, prompt="The sea is", max_tokens=8, temperature=0)
    stream = client.completions.create(model=model, prompt="The sea is", max_tokens=8, temperature=0, stream=True)
    text = "".join(chunk.choices[0].text for chunk in stream)
    expect(text == whole.choices[0].text, f"streamed {text!r}, not {whole.choices[0].text!r}")


@check
def unknown_model(client, model):
    try:
        chat(client, "no-such-model")
    except openai.NotFoundError as error:
        expect(error.code == "model_not_found", f"code is {error.code}")
    else:
        raise AssertionError("no error")


@check
def invalid_request(client, model):
    try:
        chat(client, model, extra_body={"temperature": "warm"})
    except openai.BadRequestError as error:
        expect(error.param == "temperature", f"param is {error.param}")
    else:
        raise AssertionError("no error")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    client = openai.OpenAI(base_url=sys.argv[1], api_key="unused", max_retries=0, timeout=300)
    failed = 0
    for function in CHECKS:
        try:
            function(client, sys.argv[2])
            print(f"ok {function.__name__}", flush=True)
        except Exception as error:  # whatever it is, it is the check's result
            failed += 1
            print(f"FAILED {function.__name__} {type(error).__name__}: {error}", flush=True)
    sys.exit(1 if failed else 0)


main()

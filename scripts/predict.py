"""Prints what a node predicts for a model beside what it measures: PORT MODEL. Standard library only."""
import json
import sys
import time
import urllib.request

base = f"http://127.0.0.1:{sys.argv[1]}"
model = sys.argv[2]
PROMPT_WORDS = 400
ANSWER_TOKENS = 128


def post(path, body):
    request = urllib.request.Request(
        base + path, json.dumps(body).encode(), {"content-type": "application/json"})
    return urllib.request.urlopen(request, timeout=300)


def plan(prompt_tokens):
    return json.load(post("/shoal/v1/plan", {"model": model, "promptTokenCount": prompt_tokens}))["prediction"]


def wait_until_ready(instance):
    for _ in range(600):
        for report in json.load(urllib.request.urlopen(f"{base}/shoal/v1/instances")):
            if report["id"] == instance and report["phase"] == "ready":
                return
        time.sleep(0.1)
    sys.exit("the model did not become ready")


def answer(name, number):
    """Prompt tokens, seconds to the first token, and milliseconds per further one."""
    # Different every time, so that no prefix is reused.
    words = " ".join(f"word{(number * 7919 + i * 31) % 9973}" for i in range(PROMPT_WORDS // 4))
    start = time.monotonic()
    times = []
    usage = {}
    body = {
        "model": name, "prompt": words, "max_tokens": ANSWER_TOKENS, "temperature": 0, "stream": True,
        "stream_options": {"include_usage": True}, "ignore_eos": True, "speculate": "off",
    }
    for line in post("/v1/completions", body):
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        event = json.loads(line[6:])
        usage = event.get("usage") or usage
        if any(choice.get("text") for choice in event["choices"]):
            times.append(time.monotonic())
    tokens = usage["completion_tokens"]
    return usage["prompt_tokens"], times[0] - start, (times[-1] - times[0]) / max(1, tokens - 1) * 1000, tokens


before = time.monotonic()
report = json.load(post("/shoal/v1/instances", {"model": model}))
instance = report.get("id") or report["instance"]["id"]
wait_until_ready(instance)
loaded = time.monotonic() - before
runs = [answer(report["model"], number) for number in range(5)]
prompt = runs[0][0]
predicted = plan(prompt)
median = [sorted(run[column] for run in runs)[len(runs) // 2] for column in (1, 2)]
print(f"{'':24}{'predicted':>12}{'measured':>12}{'ratio':>8}")
for label, guess, real in [
    ("load, s", predicted["loadSeconds"], loaded),
    (f"first token ({prompt}), s", predicted["timeToFirstTokenSeconds"], median[0]),
    ("per token, ms", predicted["millisecondsPerToken"], median[1]),
]:
    print(f"{label:24}{guess:12.3f}{real:12.3f}{guess / real:8.2f}")
time.sleep(12)
corrected = plan(prompt)
print("after these runs the prediction is "
      f"{corrected['timeToFirstTokenSeconds']:.3f} s and {corrected['millisecondsPerToken']:.3f} ms")

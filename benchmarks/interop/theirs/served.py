"""`transformers serve` with OpenAI's client: a server on this machine, every question as a chat with a picture in it."""

import base64
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import openai
import transformers

COMMAND = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"


def main(given: dict) -> dict:
    """Start the server on a free port, ask, end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", given["export"], "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    command = [sys.executable, "-c", COMMAND, *words, "--dtype", "float32"]
    with Path(given["log"]).open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server, Path(given["log"]))
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=120, max_retries=0)
        said = [ask(client, given["export"], row, given["max_new_tokens"]) for row in given["asked"]]
    finally:
        server.terminate()
        server.wait(30)
    return {"version": f"{transformers.__version__}, openai {openai.__version__}", "said": said}


def wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = 900) -> None:
    """Wait until the server answers. Exits with the end of its log if it does not."""
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except OSError:
            time.sleep(0.5)
    sys.exit("the server does not answer: " + " ".join(log.read_text().splitlines()[-1:]))


def ask(client: openai.OpenAI, model: str, row: dict, most: int) -> str:
    """Ask one question about one picture."""
    picture = base64.b64encode(Path(row["picture"]).read_bytes()).decode()
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        {"type": "text", "text": row["question"]},
    ]
    told = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": content}], max_tokens=most, temperature=0
    )
    return (told.choices[0].message.content or "").strip()


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))

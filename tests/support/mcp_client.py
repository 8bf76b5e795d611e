"""The reference client of the Model Context Protocol asks `vramplan mcp`, in both of the protocol's ways: after a
handshake, and with a version in every request. The client itself holds every answer against the tool's schema.

    python tests/support/mcp_client.py COMMAND
"""

import asyncio
import json
import subprocess
import sys

import jsonschema
from mcp import Client, StdioServerParameters

COMMAND = sys.argv[1]
LOG = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 22.03 GiB of which 1.00 GiB is free."
CALLS = {
    "budget": {"gpu": "L4", "model": "qwen2.5-14b", "context": 16384, "emit": "env"},
    "quants": {"model": "qwen2.5-7b", "gpu": "T4", "runtime": "llama.cpp"},
    "compare": {"current": {"gpu": "L4", "model": "llama-3.1-8b", "runtime": "vllm"}, "proposed": {"kv": "fp8"}},
    "why": {"log": LOG, "plan": {"model": "qwen2.5-14b"}},
    "profiles": {"kind": "gpus", "matching": "rtx"},
}


async def check(mode: str) -> str:
    server = StdioServerParameters(command=COMMAND, args=["mcp", "--offline"])
    async with Client(server, mode=mode) as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == list(CALLS), tools
        for tool in tools:
            for schema in (tool.input_schema, tool.output_schema):
                jsonschema.Draft202012Validator.check_schema(schema)
            assert tool.annotations.read_only_hint and tool.description
            jsonschema.validate(CALLS[tool.name], tool.input_schema)
            result = await client.call_tool(tool.name, CALLS[tool.name])
            assert not result.is_error, result
            assert result.content[0].text and result.structured_content
            jsonschema.validate(result.structured_content, tool.output_schema)
        plan = await client.call_tool("budget", {"gpu": "L4", "model": "qwen2.5-14b"})
        said = subprocess.run([COMMAND, "budget", "--json", "--gpu", "L4", "--model", "qwen2.5-14b"], stdout=subprocess.PIPE, check=True)
        assert plan.structured_content == json.loads(said.stdout)
        refused = await client.call_tool("budget", {"gpu": "L5", "model": "qwen2.5-14b"})
        assert refused.is_error and "hint:" in refused.content[0].text, refused
        # Calls that are made together are all answered.
        several = await asyncio.gather(*(client.call_tool("profiles", CALLS["profiles"]) for _ in range(20)))
        assert all(one.structured_content["gpus"] for one in several)
        return client.protocol_version


async def main() -> None:
    for mode in ("legacy", "auto"):
        print(f"{mode}: version {await check(mode)}, {len(CALLS)} tools called")


asyncio.run(main())

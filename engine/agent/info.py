"""`/inference_info`, `/inference_version`."""

from engine.agent.call import Call, Handler
from engine.agent.vllm import vllm_version
from engine.contract.version import version


async def show_info(call: Call) -> dict[str, object]:
    return {
        "vllm_version": vllm_version(),
        "engine_version": version(),
        "vllm_config": call.agent.vllm_config,
        "role": call.agent.metadata.role,
        "worker_id": call.agent.metadata.worker_id,
    }


async def show_vllm_version(call: Call) -> dict[str, object]:
    return {"vllm_version": vllm_version()}


HANDLERS: dict[str, Handler] = {
    "get_inference_info": show_info,
    "get_inference_version": show_vllm_version,
}

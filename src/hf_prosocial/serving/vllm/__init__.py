"""A plug-in of vLLM: a preference, β and a safe set for each request, in one engine."""


def register() -> None:
    """Make the guided model known to vLLM; its entry point in the group `vllm.general_plugins`."""
    from vllm import ModelRegistry

    ModelRegistry.register_model("ProSocialForCausalLM", "hf_prosocial.serving.vllm.model:ProSocialForCausalLM")

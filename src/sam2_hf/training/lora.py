"""Low-rank adapters through peft, and the model with them folded in."""

from torch import Tensor

from sam2_hf.errors import MissingExtraError
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.training.config import LoraConfig

ADAPTER = "default"


def add_adapters(model: Sam2Model, config: LoraConfig) -> None:
    """Puts adapters beside the layers that `config.targets` names; they learn, the layers do not.

    The trunk has one matrix for query, key and value, so its adapters act on all three.

    Raises:
        MissingExtraError: peft is not installed.
    """
    try:
        from peft import LoraConfig as PeftConfig
        from peft import inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError('`lora` needs peft: pip install "sam2_hf[train]"') from error
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    adapters = PeftConfig(r=config.rank, lora_alpha=config.alpha, target_modules=config.targets)
    inject_adapter_in_model(adapters, model, adapter_name=ADAPTER)
    for name, parameter in model.named_parameters():  # peft freezes everything else; what was to learn still does
        if name in learning:
            parameter.requires_grad_(True)


def merged_state_dict(model: Sam2Model) -> dict[str, Tensor]:
    """Weights under the model's own names, adapters added to their layers."""
    from peft.tuners.lora import LoraLayer

    state = {name: value for name, value in model.state_dict().items() if ".lora_" not in name}
    for prefix, module in model.named_modules():
        if isinstance(module, LoraLayer):
            weight = state.pop(f"{prefix}.base_layer.weight")
            state[f"{prefix}.weight"] = weight + module.get_delta_weight(ADAPTER).to(weight.dtype)
            if f"{prefix}.base_layer.bias" in state:
                state[f"{prefix}.bias"] = state.pop(f"{prefix}.base_layer.bias")
    return state

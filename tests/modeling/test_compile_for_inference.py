"""A model that was compiled for inference: the same results, and no new graph for other numbers of anything."""

import copy
import pickle

import pytest
import torch
from accelerate import cpu_offload
from torch._dynamo.backends.registry import lookup_backend

from sam2_hf import Sam2InferenceSession, Sam2Model
from sam2_hf.modeling.compiling import COMPILED
from sam2_hf.modeling.outputs import MemoryBatch, PromptBatch
from tests.tiny import MICRO_TRUNK, WIDTH, micro_model, micro_processor, scene

pytestmark = pytest.mark.filterwarnings("ignore:::torch.*")  # the compiler warns of itself
SIDE = 64
FRAMES = 20
OBJECTS = (1, 2, 5, 8)
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


class Graphs:
    """A backend that counts what it is given; it captures graphs as the default one does, without compiling C++."""

    def __init__(self):
        self.made = self.made_first = 0
        self.backend = lookup_backend("aot_eager")

    def __call__(self, graph, inputs):
        self.made += 1
        return self.backend(graph, inputs)


@pytest.fixture(scope="module")
def model() -> Sam2Model:
    """With as few layers as there are kinds of them."""
    trunk = {**MICRO_TRUNK, "blocks_per_stage": [1, 1, 2, 1], "global_attention_blocks": [3]}
    return micro_model(
        image_size=SIDE,
        vision_config={"fpn_hidden_size": WIDTH, "backbone_config": trunk},
        memory_attention_num_layers=1,
        memory_fuser_num_layers=1,
    )


@pytest.fixture(scope="module")
def graphs() -> Graphs:
    torch.compiler.reset()
    return Graphs()


@pytest.fixture(scope="module")
def compiled(model, graphs) -> Sam2Model:
    """A copy that has seen one object and two, on a few frames of a video and on a picture."""
    compiled = copy.deepcopy(model).compile_for_inference(backend=graphs)
    for objects in (1, 2):
        course(compiled, objects, frames=3)
        clicks(compiled, objects, points=1)
        clicks(compiled, objects, points=1, mask=True)
    graphs.made_first = graphs.made
    return compiled


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def clicks(
    model: Sam2Model, objects: int, points: int, *, box: bool = False, mask: bool = False, pictures: int = 1
) -> torch.Tensor:
    """Logits of the objects of pictures."""
    corners = torch.tensor([5.0, 8.0, 40.0, 50.0])
    outputs = model(
        pixel_values=noise(pictures, 3, SIDE, SIDE),
        input_points=noise(pictures, objects, points, 2, seed=points) * 9 + SIDE / 2,
        input_boxes=corners.expand(pictures, objects, -1) if box else None,
        input_masks=noise(pictures, objects, SIDE // 4, SIDE // 4) if mask else None,
    )
    return outputs.pred_masks


def course(model: Sam2Model, objects: int, frames: int, correct_at: tuple[int, ...] = ()) -> list[torch.Tensor]:
    """Logits of a video's objects, frame by frame: clicks and a mask to begin with, corrections in between."""
    pictures = [scene(SIDE, SIDE, seed=number) for number in range(frames)]
    session = Sam2InferenceSession(model, micro_processor(SIDE), video=pictures)
    given = torch.zeros(SIDE, SIDE)
    given[10:30, 12:40] = 1
    for name in range(objects):
        session.add_prompt(frame_index=0, object_id=name, points=[[20 + 3 * name, 30]])
    session.add_prompt(frame_index=0, object_id=0, mask=given)
    shown = [frame.mask_logits.clone() for frame in session.propagate()]
    for frame in correct_at or (frames - 1,):
        for count in (1, 2):
            places = [[10 + 9 * number, 20 + 5 * number] for number in range(count)]
            answer = session.add_prompt(frame_index=frame, object_id=0, points=places)
            shown.append(answer.mask_logits.clone())
        shown += [one.mask_logits.clone() for one in session.propagate(start_frame=frame)]
    return shown


def test_compiled_parts_have_a_graph_for_one_object_and_one_for_several(compiled, graphs):
    """The encoder one; points, mask prompts, memory attention and memory encoder two each; the decoder a third for
    several objects of a picture, which share its map."""
    assert graphs.made_first == 1 + 4 * 2 + 3


@pytest.mark.parametrize("objects", OBJECTS)
def test_video_makes_no_further_graph(model, compiled, graphs, objects):
    """From the first frame until the memory is full, with corrections in between."""
    before = graphs.made
    found = course(compiled, objects, FRAMES, correct_at=(4, 17))
    assert graphs.made == before
    for one, other in zip(found, course(model, objects, FRAMES, correct_at=(4, 17)), strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


@pytest.mark.parametrize("objects", OBJECTS)
def test_prompts_of_a_picture_make_no_further_graph(model, compiled, graphs, objects):
    before = graphs.made
    for points in range(1, 7):
        for box in (False, True):
            for mask in (False, True):
                found = clicks(compiled, objects, points, box=box, mask=mask)
                expected = clicks(model, objects, points, box=box, mask=mask)
                torch.testing.assert_close(found, expected, **CLOSE)
    assert graphs.made == before


@pytest.mark.slow
def test_batches_of_pictures_make_three_graphs_once(model, compiled, graphs):
    """Pictures with one object each and with several are decoded by different ones."""
    before = graphs.made
    for pictures, objects, points in ((2, 1, 1), (2, 2, 1), (3, 1, 4), (4, 5, 2), (3, 3, 1)):
        found = clicks(compiled, objects, points, pictures=pictures)
        torch.testing.assert_close(found, clicks(model, objects, points, pictures=pictures), **CLOSE)
    assert graphs.made == before + 3


@torch.inference_mode()
def test_memory_of_any_length_makes_no_further_graph(model, compiled, graphs):
    """Also without pointers, and with more prompted frames than a bank of fixed size would hold."""
    before = graphs.made
    grid, width = model.config.grid_size, model.config.hidden_size
    features = (compiled.encode_image(noise(1, 3, SIDE, SIDE)), model.encode_image(noise(1, 3, SIDE, SIDE)))
    for rows, maps, pointers in ((1, 1, 0), (1, 7, 16), (3, 12, 1), (5, 1, 0), (2, 7, 40)):
        memory = MemoryBatch(
            spatial=noise(rows, maps, model.config.memory_encoder_output_channels, grid, grid),
            spatial_time=torch.arange(maps).expand(rows, -1) % 7,
            pointers=noise(rows, pointers, width),
            pointer_time=torch.arange(pointers).expand(rows, -1) / 15,
        )
        found, expected = (one.recall(raw, memory) for one, raw in zip((compiled, model), features, strict=True))
        torch.testing.assert_close(found.image_embedding, expected.image_embedding, **CLOSE)
    assert graphs.made == before


def test_half_precision_makes_no_graphs_of_its_own_for_masks_in_float32(model):
    """Masks come from users in the model's dtype and from earlier answers in float32."""
    graphs = Graphs()
    course(copy.deepcopy(model).to(torch.bfloat16).compile_for_inference(backend=graphs), objects=1, frames=3)
    assert graphs.made == 6


def test_compiled_model_is_the_same_model(model, compiled, tmp_path):
    assert list(compiled.state_dict()) == list(model.state_dict())
    compiled.save_pretrained(tmp_path)
    for other in (Sam2Model.from_pretrained(tmp_path), copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))):
        torch.testing.assert_close(clicks(other, 1, 1), clicks(model, 1, 1), **CLOSE)
        assert not any(vars(module).get(COMPILED) and vars(module)[COMPILED].methods for module in other.modules())


def test_compiling_twice_keeps_what_was_compiled(compiled, graphs):
    before = graphs.made
    compiled.compile_for_inference(backend=graphs)
    clicks(compiled, 1, 1)
    assert graphs.made == before


def test_training_and_recorded_layers_are_not_compiled(model, compiled, graphs):
    before = graphs.made
    inputs = {"pixel_values": noise(1, 3, SIDE, SIDE), "input_boxes": torch.tensor([[[5.0, 8.0, 40.0, 50.0]]])}
    outputs = compiled(**inputs, labels=torch.ones(1, 1, SIDE, SIDE))
    outputs.loss.backward()
    compiled.zero_grad()
    with torch.inference_mode():
        assert len(compiled(**inputs, output_hidden_states=True).vision_hidden_states) == 6
        compiled.train()(**inputs)
        compiled.eval()
    assert graphs.made == before


def test_compiling_is_taken_back(model):
    graphs = Graphs()
    other = copy.deepcopy(model).compile_for_inference(backend=graphs).uncompile()
    torch.testing.assert_close(clicks(other, 2, 1), clicks(model, 2, 1), **CLOSE)
    assert graphs.made == 0


def test_only_the_parts_that_were_named_are_compiled(model):
    graphs = Graphs()
    other = copy.deepcopy(model).compile_for_inference(["prompt_encoder"], backend=graphs)
    torch.testing.assert_close(clicks(other, 1, 1), clicks(model, 1, 1), **CLOSE)
    assert graphs.made == 1
    with pytest.raises(ValueError, match=r"'decoder'; `parts` are any of .*mask_decoder"):
        other.compile_for_inference("decoder")


def test_other_settings_compile_anew_and_unknown_ones_change_nothing(model):
    first, second = Graphs(), Graphs()
    other = copy.deepcopy(model).compile_for_inference(backend=first).compile_for_inference(backend=second)
    with pytest.raises(RuntimeError, match="fastest"):
        other.compile_for_inference(mode="fastest")
    with torch.inference_mode():
        other.encode_prompts(PromptBatch(points=noise(1, 1, 2), labels=torch.ones(1, 1)), 1)
    assert (first.made, second.made) == (0, 1)


def test_offloaded_model_is_refused_with_the_remedy(model):
    offloaded = cpu_offload(copy.deepcopy(model), execution_device=torch.device("cpu"))
    with pytest.raises(ValueError, match=r"\.to\(device\)"):
        offloaded.compile_for_inference()

"""The recipe with a very small model and stages of two steps, for tests of everything but accuracy."""

from __future__ import annotations

import dataclasses

from model.training.recipe import Recipe, load_recipe

WHOLE = load_recipe()


def small_recipe() -> Recipe:
    return dataclasses.replace(
        WHOLE,
        data=dataclasses.replace(WHOLE.data, long_test_clips=2),
        encoder={**WHOLE.encoder, "num_layers": 2, "hidden_dim": 16, "num_heads": 2, "dim_head": 8, "context_size": 20},
        projector={**WHOLE.projector, "hidden_size": 16, "intermediate_size": 16, "encoder_hidden_size": 16},
        text={**WHOLE.text, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16},
        training=dataclasses.replace(WHOLE.training, save_every=1, evaluation_clips=2),
        stages=tuple(dataclasses.replace(stage, steps=2, batch_seconds=4.0) for stage in WHOLE.stages),
    )

"""Folders of models with the files that say how to use them."""

import json

from llm_embedder_data.config.recipes import Recipe

AUTO = Recipe("auto", {})
QWEN = "Instruct: Given a web search query, retrieve relevant passages\nQuery:"


def model_folder(path, *, prompts=None, pooling=None, modules=None, **more):
    """The files beside a model's weights, as sentence-transformers writes them."""
    path.mkdir(parents=True, exist_ok=True)
    if prompts is not None or more:
        config = {"prompts": prompts, **more}
        (path / "config_sentence_transformers.json").write_text(json.dumps(config))
    if pooling is not None or modules is not None:
        kinds = modules or ["Transformer", "Pooling", "Normalize"]
        listed = [
            {
                "idx": i,
                "name": str(i),
                "path": "" if i == 0 else f"{i}_{kind}",
                "type": f"sentence_transformers.models.{kind}",
            }
            for i, kind in enumerate(kinds)
        ]
        (path / "modules.json").write_text(json.dumps(listed))
    if pooling is not None:
        (path / "1_Pooling").mkdir(exist_ok=True)
        (path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return str(path)

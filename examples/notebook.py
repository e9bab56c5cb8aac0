"""A notebook: its cells run inside a loop that is running, and may `await`.

Open it with Jupytext or VS Code, or paste the cells into Jupyter.
"""

# %% The short way: `fetch` works here too, in a thread of its own
import modelfetch

model = modelfetch.fetch("unsloth/Qwen3-0.6B-GGUF", "Q4_K_M")
print(model.path)

# %% With progress, and without blocking the notebook
engine = await modelfetch.Engine().__aenter__()
job = await engine.download("unsloth/gemma-3-270m-it-GGUF", "Q8_0")

# %% Run this cell whenever you want to know
print(job.status.to_dict())

# %% And this one to have the model
other = await job.result()
print(other.path)

# %% At the end
await engine.close()

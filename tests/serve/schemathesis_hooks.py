"""What schemathesis cannot know of the API: which strings are pictures, and which are questions. See docs/serve.md, Tests."""

import base64
from pathlib import Path

import schemathesis
from hypothesis import strategies as st

EXAMPLES = Path(__file__).parents[2] / "examples"
PICTURES = [path.read_bytes() for path in sorted(EXAMPLES.glob("scene*.png"))]
TEXTS = [base64.b64encode(content).decode() for content in PICTURES]

schemathesis.openapi.format("picture", st.sampled_from(TEXTS + [f"data:image/png;base64,{text}" for text in TEXTS]))
schemathesis.openapi.format("question", st.sampled_from(["Is there a circle?", "What color is the square?", "Which shape is black?"]))
schemathesis.openapi.format("method", st.sampled_from(["dsmi", "dsmi-grad", "rollout", "random"]))
schemathesis.openapi.format("answer", st.sampled_from(["yes", "no", "3"]))

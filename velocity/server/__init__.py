"""An HTTP server with the shape of OpenAI's ``/v1/audio/transcriptions``: Starlette on uvicorn, no PyTorch.

Specification: https://platform.openai.com/docs/api-reference/audio/createTranscription
"""

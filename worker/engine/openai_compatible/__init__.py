"""Any server that speaks `/v1/chat/completions`: vLLM, SGLang, llama-server, LM Studio, OpenAI."""

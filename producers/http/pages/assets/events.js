// Reads server-sent events from a reply. EventSource cannot send an API key.

export async function* eventsOf(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value.replaceAll("\r", "")).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = { event: "message", id: "", data: "" };
      for (const line of block.split("\n")) {
        const [, field, data] = /^(\w+): ?(.*)$/.exec(line) || [];
        if (field) event[field] = data;
      }
      if (event.data) yield { ...event, data: JSON.parse(event.data) };
    }
  }
}

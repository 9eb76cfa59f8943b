// Counts a body as it comes, sends events one after another, or bytes without end.
const encoder = new TextEncoder();

async function count(request) {
  let bytes = 0;
  for await (const chunk of request.body ?? []) {
    bytes += chunk.byteLength;
  }
  return Response.json({ bytes });
}

function events() {
  const { readable, writable } = new TransformStream();
  const writer = writable.getWriter();
  (async () => {
    for (let number = 1; number <= 3; number += 1) {
      await writer.write(encoder.encode(`data: ${number}\n\n`));
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await writer.close();
  })();
  return new Response(readable, { headers: { "Content-Type": "text/event-stream" } });
}

function bytes(limit) {
  const chunk = new Uint8Array(65536);
  let sent = 0;
  const readable = new ReadableStream({
    pull(controller) {
      controller.enqueue(chunk);
      sent += chunk.byteLength;
      if (sent >= limit) {
        controller.close();
      }
    },
  });
  return new Response(readable);
}

export default {
  async fetch(request) {
    switch (new URL(request.url).pathname) {
      case "/count":
        return count(request);
      case "/events":
        return events();
      case "/megabytes":
        return bytes(8 * 1024 * 1024);
      case "/endless":
        return bytes(Infinity);
      default:
        return new Response("ok");
    }
  },
};

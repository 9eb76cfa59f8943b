// Answers with what it was asked.
export default {
  async fetch(request) {
    const { pathname, search } = new URL(request.url);
    return Response.json({
      method: request.method,
      path: pathname + search,
      requestId: request.headers.get("X-Request-ID"),
      traceparent: request.headers.get("Traceparent"),
      authorization: request.headers.get("Authorization"),
      body: await request.text(),
    });
  },
};

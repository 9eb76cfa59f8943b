// Sends its callers elsewhere.
const targets = {
  "/metadata": "http://169.254.169.254/latest/meta-data/",
  "/loopback": "http://127.0.0.1:22/",
  "/itself": "/health",
};

export default {
  async fetch(request) {
    const target = targets[new URL(request.url).pathname];
    return target
      ? new Response(null, { status: 302, headers: { Location: target } })
      : new Response("ok");
  },
};

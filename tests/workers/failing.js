// Throws, or says that it cannot.
export default {
  async fetch(request) {
    if (new URL(request.url).pathname === "/throws") {
      throw new Error("canary");
    }
    return new Response("cannot", { status: 500 });
  },
};

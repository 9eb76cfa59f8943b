// Is healthy, and takes as many milliseconds for anything else as its path says.
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname !== "/health") {
      await new Promise((resolve) => setTimeout(resolve, Number(pathname.slice(1)) || 60000));
    }
    return new Response("at last");
  },
};

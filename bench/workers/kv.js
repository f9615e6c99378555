// Stands in for KV: workerd reads a namespace by asking a service for /<key>. One key is there, the
// manifest; its metadata travels in a field of its own.
export default {
  fetch(request, env) {
    const key = decodeURIComponent(new URL(request.url).pathname.slice(1));
    if (request.method !== "GET" || key !== "active")
      return new Response("not found", { status: 404 });
    return new Response(env.MANIFEST, { headers: { "CF-KV-Metadata": env.METADATA } });
  },
};

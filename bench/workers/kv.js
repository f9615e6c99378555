// Stands in for KV: workerd reads a namespace by asking a service for /<key>. The manifest is there,
// its metadata in a field of its own, and the parts that it names, each a binding of its key's name.
export default {
  fetch(request, env) {
    const key = decodeURIComponent(new URL(request.url).pathname.slice(1));
    if (request.method !== "GET") return new Response("not found", { status: 404 });
    if (key === "active")
      return new Response(env.MANIFEST, { headers: { "CF-KV-Metadata": env.METADATA } });
    if (key.startsWith("part:") && key in env) return new Response(env[key]);
    return new Response("not found", { status: 404 });
  },
};

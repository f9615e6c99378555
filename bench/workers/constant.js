// The runtime's ceiling: a Worker that answers without an origin and without looking at the request.
export default {
  fetch() {
    return new Response("ok\n");
  },
};

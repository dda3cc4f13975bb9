/* broker.i - a broker's snapshots and those of its commands that need more than a plain call: everything under the names of
 * broker.h. Refuses to decide anything: verdicts on CONNECTs come from the script, which was told by an event. */

%{
#define X(type, name, how, meaning) #name " "
static const char broker_stats_names[] = ROAM_BROKER_STATS_MAP(X);
#undef X
%}
#ifdef SWIGLUA
/* The names of a broker's figures, with spaces between. */
%constant const char *BROKER_STATS = broker_stats_names;
#endif

%{
/* The members of roam_peer_info by type; a test compares them with the header. */
#define PEER_TEXTS(X) X(client_id) X(user_name)
#define PEER_FLAGS(X) X(connected) X(resumed) X(early_data)
#define PEER_ADDRESSES(X) X(ip_address) X(connect_address)
#define PEER_NUMBERS(X)                                                                                                    \
  X(version) X(moves) X(connects) X(connected_at) X(subscriptions) X(inflight) X(queued) X(messages_in) X(messages_out)    \
  X(dropped) X(rtt_ns) X(keep_alive_s) X(lanes) X(key_updates) X(cwnd_bytes) X(bytes_in_flight) X(min_rtt_ns) X(bytes_in)  \
  X(bytes_out) X(udp_in) X(udp_out) X(handshake_bytes_in) X(handshake_bytes_out) X(stream_bytes_out) X(packets_lost)      \
  X(memory_bytes) X(queued_bytes)

#define HISTORY_MAX 1024

static roam_bytes bytes_of_text(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

/* All clients, copied; NULL with *n 0: none, or no memory (*n 1). */
static roam_peer_info *copy_clients(const roam_broker *b, size_t *n) {
  roam_peer_info *all = NULL;
  size_t cap = 0, had;
  *n = 0;
  do {
    size_t more = cap == 0 ? 64 : cap;
    roam_peer_info *larger = realloc(all, (cap + more) * sizeof *all);
    if (larger == NULL) {
      free(all);
      *n = 1;
      return NULL;
    }
    all = larger;
    cap += more;
    had = roam_broker_clients(b, *n, all + *n, more);
    *n += had;
  } while (*n == cap);
  return all;
}
%}

#if defined(SWIGPYTHON)
%{
static PyObject *client_to_dict(const roam_peer_info *info) {
  PyObject *d = PyDict_New();
  if (d == NULL)
    return NULL;
#define X(name) put(d, #name, text_from_bytes(bytes_of_text(info->name)));
  PEER_TEXTS(X)
#undef X
#define X(name) put(d, #name, from_bool(info->name));
  PEER_FLAGS(X)
#undef X
#define X(name) put(d, #name, addr_to_object(&info->name));
  PEER_ADDRESSES(X)
#undef X
#define X(name) put(d, #name, from_u64(info->name));
  PEER_NUMBERS(X)
#undef X
  put(d, "transport", PyUnicode_FromString(roam_transport_name(info->transport)));
  return whole_or_null(d);
}
%}
%inline %{
/* The broker's clients as a list of dicts. Takes the lock, and gives it back before the first Python object is made. */
static PyObject *broker_clients(roam_thread *thread, const roam_broker *broker) {
  size_t n;
  roam_peer_info *all;
  Py_BEGIN_ALLOW_THREADS
  roam_thread_lock(thread);
  all = copy_clients(broker, &n);
  roam_thread_unlock(thread);
  Py_END_ALLOW_THREADS
  if (all == NULL)
    return PyErr_NoMemory();
  PyObject *list = PyList_New(0);
  for (size_t i = 0; list != NULL && i < n; i++) {
    PyObject *item = client_to_dict(&all[i]);
    if (item == NULL || PyList_Append(list, item) != 0)
      Py_CLEAR(list);
    Py_XDECREF(item);
  }
  free(all);
  return list;
}

/* The addresses a client had, oldest first: (at, address, by_connect). Call under the lock. */
static PyObject *broker_history(const roam_broker *broker, const char *client_id) {
  roam_address_change change[HISTORY_MAX];
  size_t n = roam_broker_history(broker, client_id, change, HISTORY_MAX);
  PyObject *list = PyList_New(0);
  for (size_t i = 0; list != NULL && i < n; i++) {
    PyObject *item = Py_BuildValue("(KNN)", (unsigned long long)change[i].at, addr_to_object(&change[i].address),
                                   from_bool(change[i].by_connect));
    if (item == NULL || PyList_Append(list, item) != 0)
      Py_CLEAR(list);
    Py_XDECREF(item);
  }
  return list;
}

/* Answers an AUTH event. Call under the lock. */
static roam_rc broker_admit(roam_broker *broker, roam_time now, uint64_t peer, int reason, roam_bytes data, const char *user_name,
                            const char *text) {
  roam_admission a = {.reason = (uint8_t)reason, .data = data, .user_name = user_name, .text = text};
  return reason < 0 || reason > UINT8_MAX ? ROAM_E_ARGUMENT : roam_broker_admit(broker, now, peer, &a);
}

/* Other certificates for new connections; raises why they are not taken. Call under the lock. */
static PyObject *broker_set_certificate(roam_broker *broker, const roam_tls_config *tls) {
  const char *why = NULL;
  roam_rc rc = roam_broker_set_certificate(broker, tls, &why);
  if (rc != 0) {
    raise_text(rc, why != NULL ? why : roam_strerror(rc), -1);
    return NULL;
  }
  return none();
}
%}
#endif

#if defined(SWIGLUA)
%{
static void push_client(lua_State *L, const roam_peer_info *info) {
  lua_createtable(L, 0, 40);
#define X(name) set_field_text(L, #name, bytes_of_text(info->name));
  PEER_TEXTS(X)
#undef X
#define X(name) set_field_bool(L, #name, info->name);
  PEER_FLAGS(X)
#undef X
#define X(name) set_field_addr(L, #name, &info->name);
  PEER_ADDRESSES(X)
#undef X
#define X(name) set_field_integer(L, #name, (int64_t)info->name);
  PEER_NUMBERS(X)
#undef X
  lua_pushstring(L, roam_transport_name(info->transport));
  lua_setfield(L, -2, "transport");
}

/* broker_clients(broker) -> list of tables. A table that cannot be made raises, and what was copied would be lost: so nothing is
 * copied, and clients are asked for a few at a time. */
static int native_broker_clients(lua_State *L) {
  roam_broker *broker = object_at(L, 1, SWIGTYPE_p_roam_broker, "a broker");
  roam_peer_info info[16];
  size_t n, at = 0;
  lua_newtable(L);
  while ((n = roam_broker_clients(broker, at, info, 16)) > 0)
    for (size_t i = 0; i < n; i++, at++) {
      push_client(L, &info[i]);
      lua_rawseti(L, -2, (lua_Integer)at + 1);
    }
  return 1;
}

/* broker_history(broker, client_id) -> list of { at =, address =, by_connect = } */
static int native_broker_history(lua_State *L) {
  roam_broker *broker = object_at(L, 1, SWIGTYPE_p_roam_broker, "a broker");
  roam_address_change change[HISTORY_MAX];
  size_t n = roam_broker_history(broker, luaL_checkstring(L, 2), change, HISTORY_MAX);
  lua_createtable(L, (int)n, 0);
  for (size_t i = 0; i < n; i++) {
    lua_createtable(L, 0, 3);
    set_field_integer(L, "at", (int64_t)change[i].at);
    set_field_addr(L, "address", &change[i].address);
    set_field_bool(L, "by_connect", change[i].by_connect);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* broker_admit(broker, now, peer, reason, data, user_name, text) */
static int native_broker_admit(lua_State *L) {
  roam_broker *broker = object_at(L, 1, SWIGTYPE_p_roam_broker, "a broker");
  lua_Integer reason = luaL_optinteger(L, 4, 0);
  roam_admission a = {.reason = (uint8_t)reason, .data = bytes_at(L, 5), .user_name = luaL_optstring(L, 6, NULL),
                      .text = luaL_optstring(L, 7, NULL)};
  roam_rc rc = reason < 0 || reason > UINT8_MAX
                 ? ROAM_E_ARGUMENT
                 : roam_broker_admit(broker, (roam_time)luaL_checkinteger(L, 2), (uint64_t)luaL_checkinteger(L, 3), &a);
  if (rc < 0)
    return push_failure(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

/* broker_set_certificate(broker, ca, certificate, key, request, require, more) */
static int native_broker_set_certificate(lua_State *L) {
  roam_broker *broker = object_at(L, 1, SWIGTYPE_p_roam_broker, "a broker");
  roam_tls_config tls = {.ca = bytes_at(L, 2), .certificate = bytes_at(L, 3), .key = bytes_at(L, 4),
                         .request_client_certificate = lua_toboolean(L, 5), .require_client_certificate = lua_toboolean(L, 6),
                         .more = bytes_at(L, 7), .wall_unix_s = roam_wall_unix_s()};
  const char *why = NULL;
  roam_rc rc = roam_broker_set_certificate(broker, &tls, &why);
  if (rc < 0) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", roam_error_name(rc), why != NULL ? why : roam_strerror(rc));
    lua_pushinteger(L, rc);
    return 3;
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* access_error(file, acl) -> "line 3: ..." or nil */
static int native_access_error(lua_State *L) {
  roam_access_fault fault = {0};
  roam_bytes file = bytes_at(L, 1);
  if ((lua_toboolean(L, 2) ? roam_acl_check(file, &fault) : roam_passwords_check(file, &fault)) == 0)
    return 0;
  lua_pushfstring(L, "line %d: %s", (int)fault.line, fault.text ? fault.text : "no memory for it");
  return 1;
}
%}
%native(broker_clients) int native_broker_clients(lua_State *L);
%native(broker_history) int native_broker_history(lua_State *L);
%native(broker_admit) int native_broker_admit(lua_State *L);
%native(broker_set_certificate) int native_broker_set_certificate(lua_State *L);
%native(access_error) int native_access_error(lua_State *L);
%inline %{
/* local: nil where the socket has no address. */
static roam_rc broker_listen_name(roam_broker *b, roam_time now, int transport, const char *name, const char *local,
                                  uint64_t *listener) {
  roam_addr addr;
  if (local != NULL && roam_addr_parse(local, &addr) != 0)
    return ROAM_E_ARGUMENT;
  return roam_broker_listen_name(b, now, (roam_transport_kind)transport, name, local != NULL ? &addr : NULL, listener);
}
%}
#endif

/* events.i - events as plain tuples (Python) or flat tables (Lua), taken in batches, and the two calls on the path of every
 * message. Scripts poll: no call ever goes from C into a script.
 *
 * An event is (tag, kind, body). body by kind:
 *   MESSAGE                                     (topic, payload, qos, retain, dup, props, packet_id, lane)
 *   PUBLISHED, SUBSCRIBED, UNSUBSCRIBED         (token, rc, reason, codes, props)
 *   PATH_..., PEER_MOVED, NAT_...               (rc, text, local, remote, old_local, old_remote, validation_ns, id, peer)
 *   AUTH                                        (rc, reason, method, data, user_name, again, id, peer)
 *   all others                                  (rc, reason, text, local, remote, transport, version, session_present, retry_ns,
 *                                                id, token, peer)
 */

%{
typedef enum body_kind { BODY_MESSAGE, BODY_ACK, BODY_PATH, BODY_AUTH, BODY_LINK } body_kind;

static body_kind body_of(int kind) {
  switch (kind) {
  case ROAM_EV_MESSAGE:
    return BODY_MESSAGE;
  case ROAM_EV_PUBLISHED:
  case ROAM_EV_SUBSCRIBED:
  case ROAM_EV_UNSUBSCRIBED:
    return BODY_ACK;
  case ROAM_EV_PATH_PROBING:
  case ROAM_EV_PATH_MIGRATED:
  case ROAM_EV_PATH_FAILED:
  case ROAM_EV_PEER_MOVED:
  case ROAM_EV_NAT_REBOUND:
  case ROAM_EV_NAT_RESET:
  case ROAM_EV_NAT_MAPPED:
    return BODY_PATH;
  case ROAM_EV_AUTH:
    return BODY_AUTH;
  default:
    return BODY_LINK;
  }
}

#define EVENT_BATCH_MAX 512
%}

#if defined(SWIGPYTHON)
%{
static PyObject *text_from_bytes(roam_bytes bytes) {
  return PyUnicode_DecodeUTF8((const char *)bytes.base, (Py_ssize_t)bytes.len, "replace");
}

static PyObject *bytes_from_bytes(roam_bytes bytes) {
  return PyBytes_FromStringAndSize((const char *)bytes.base, (Py_ssize_t)bytes.len);
}

static PyObject *message_body(const roam_event_message *m) {
  return Py_BuildValue("(NNiNNNii)", text_from_bytes(m->topic), bytes_from_bytes(m->payload), (int)m->qos,
                       PyBool_FromLong(m->retain), PyBool_FromLong(m->dup), bytes_from_bytes(m->props), (int)m->packet_id,
                       (int)m->lane);
}

static PyObject *ack_body(const roam_event *ev) {
  return Py_BuildValue("(KiiNN)", (unsigned long long)ev->token, ev->rc, ev->reason, bytes_from_bytes(ev->u.ack.codes),
                       bytes_from_bytes(ev->u.ack.props));
}

static PyObject *path_body(const roam_event *ev) {
  const roam_event_path *p = &ev->u.path;
  return Py_BuildValue("(izNNNNKNK)", ev->rc, ev->text, addr_to_object(&p->local), addr_to_object(&p->remote),
                       addr_to_object(&p->old_local), addr_to_object(&p->old_remote), (unsigned long long)p->validation_ns,
                       text_from_bytes(ev->id), (unsigned long long)ev->peer);
}

static PyObject *auth_body(const roam_event *ev) {
  const roam_event_auth *a = &ev->u.auth;
  return Py_BuildValue("(iiNNNNNK)", ev->rc, ev->reason, text_from_bytes(a->method), bytes_from_bytes(a->data),
                       text_from_bytes(a->user_name), PyBool_FromLong(a->again), text_from_bytes(ev->id),
                       (unsigned long long)ev->peer);
}

static PyObject *link_body(const roam_event *ev) {
  const roam_event_link *l = &ev->u.link;
  return Py_BuildValue("(iizNNiiNKNKK)", ev->rc, ev->reason, ev->text, addr_to_object(&l->local), addr_to_object(&l->remote),
                       (int)l->transport, (int)l->version, PyBool_FromLong(l->session_present),
                       (unsigned long long)l->retry_ns, text_from_bytes(ev->id), (unsigned long long)ev->token,
                       (unsigned long long)ev->peer);
}

static PyObject *event_tuple(uint64_t tag, const roam_event *ev) {
  PyObject *body = NULL;
  switch (body_of(ev->kind)) {
  case BODY_MESSAGE:
    body = message_body(&ev->u.message);
    break;
  case BODY_ACK:
    body = ack_body(ev);
    break;
  case BODY_PATH:
    body = path_body(ev);
    break;
  case BODY_AUTH:
    body = auth_body(ev);
    break;
  case BODY_LINK:
    body = link_body(ev);
    break;
  }
  return body == NULL ? NULL : Py_BuildValue("(KiN)", (unsigned long long)tag, (int)ev->kind, body);
}
%}
%inline %{
/* Up to max (at most 512) events of the thread's ring, oldest first; an empty list when there are none. */
static PyObject *thread_drain(roam_thread *thread, int max) {
  PyObject *list = PyList_New(0);
  if (max > EVENT_BATCH_MAX)
    max = EVENT_BATCH_MAX;
  for (int i = 0; list != NULL && i < max; i++) {
    roam_event ev;
    uint64_t tag;
    if (roam_thread_take(thread, &ev, &tag) != 1)
      break;
    PyObject *item = event_tuple(tag, &ev);
    if (item == NULL || PyList_Append(list, item) != 0)
      Py_CLEAR(list);
    Py_XDECREF(item);
  }
  return list;
}

/* Lock, publish, unlock in one call: what every published message costs. Returns the token. */
static PyObject *publish(roam_thread *thread, roam_client *client, roam_bytes topic, roam_bytes payload, roam_bytes props,
                         int qos, bool retain, bool safe_to_repeat) {
  roam_client_message m = {.topic = topic, .payload = payload, .props = props, .qos = (uint8_t)qos, .retain = retain,
                           .safe_to_repeat = safe_to_repeat};
  uint64_t token = 0;
  roam_rc rc;
  Py_BEGIN_ALLOW_THREADS
  roam_time now = roam_thread_lock(thread);
  rc = roam_client_publish(client, now, &m, &token);
  roam_thread_unlock(thread);
  Py_END_ALLOW_THREADS
  if (rc < 0) {
    raise_code(rc);
    return NULL;
  }
  return PyLong_FromUnsignedLongLong(token);
}

/* Acknowledges messages, [lane, packet_id, lane, packet_id, ...], under one lock. What belongs to a connection that is gone is
 * skipped: the server sends it again. */
static PyObject *acknowledge(roam_thread *thread, roam_client *client, PyObject *numbers) {
  uint32_t flat[2 * EVENT_BATCH_MAX];
  Py_ssize_t count = PyList_Size(numbers);
  for (Py_ssize_t at = 0; at < count;) {
    size_t n = 0;
    for (; n < 2 * EVENT_BATCH_MAX && at < count; n++, at++)
      flat[n] = (uint32_t)PyLong_AsUnsignedLong(PyList_GetItem(numbers, at));
    if (PyErr_Occurred())
      return NULL;
    Py_BEGIN_ALLOW_THREADS
    roam_time now = roam_thread_lock(thread);
    for (size_t i = 0; i + 1 < n; i += 2)
      roam_client_ack(client, now, flat[i], (uint16_t)flat[i + 1]);
    roam_thread_unlock(thread);
    Py_END_ALLOW_THREADS
  }
  Py_INCREF(Py_None);
  return Py_None;
}

/* SUBSCRIBE (or UNSUBSCRIBE) for one filter, under the lock. Returns the token. */
static PyObject *subscribe(roam_thread *thread, roam_client *client, roam_bytes filter, int qos, bool no_local,
                           bool retain_as_published, int retain_handling, bool undo, unsigned identifier) {
  roam_filter f = {.filter = filter, .qos = (uint8_t)qos, .no_local = no_local, .retain_as_published = retain_as_published,
                   .retain_handling = (uint8_t)retain_handling, .identifier = identifier};
  uint64_t token = 0;
  roam_rc rc;
  Py_BEGIN_ALLOW_THREADS
  roam_time now = roam_thread_lock(thread);
  rc = undo ? roam_client_unsubscribe(client, now, &f, 1, &token) : roam_client_subscribe(client, now, &f, 1, &token);
  roam_thread_unlock(thread);
  Py_END_ALLOW_THREADS
  if (rc < 0) {
    raise_code(rc);
    return NULL;
  }
  return PyLong_FromUnsignedLongLong(token);
}

/* The broker's clients as a list of dicts. Call under the lock. */
static PyObject *broker_clients(const roam_broker *broker) {
  PyObject *list = PyList_New(0);
  roam_peer_info info;
  for (size_t i = 0; list != NULL && roam_broker_clients(broker, i, &info, 1) == 1; i++) {
    PyObject *item = Py_BuildValue(
      "{s:s,s:N,s:s,s:i,s:N,s:N,s:I,s:I,s:I,s:I,s:I,s:K,s:K,s:K,s:d}", "client_id", info.client_id, "connected",
      PyBool_FromLong(info.connected), "transport", roam_transport_name(info.transport), "version", (int)info.version, "address",
      addr_to_object(&info.ip_address), "connect_address", addr_to_object(&info.connect_address), "moves", info.moves,
      "connects", info.connects, "subscriptions", info.subscriptions, "inflight", info.inflight, "queued", info.queued,
      "messages_in", (unsigned long long)info.messages_in, "messages_out", (unsigned long long)info.messages_out, "dropped",
      (unsigned long long)info.dropped, "rtt", (double)info.rtt_ns / 1e9);
    if (item == NULL || PyList_Append(list, item) != 0)
      Py_CLEAR(list);
    Py_XDECREF(item);
  }
  return list;
}

/* The addresses a client had, oldest first: (time_ns, address, by_connect). Call under the lock. */
static PyObject *broker_history(const roam_broker *broker, const char *client_id) {
  roam_address_change change[256];
  size_t n = roam_broker_history(broker, client_id, change, 256);
  PyObject *list = PyList_New(0);
  for (size_t i = 0; list != NULL && i < n; i++) {
    PyObject *item = Py_BuildValue("(KNN)", (unsigned long long)change[i].at, addr_to_object(&change[i].address),
                                   PyBool_FromLong(change[i].by_connect));
    if (item == NULL || PyList_Append(list, item) != 0)
      Py_CLEAR(list);
    Py_XDECREF(item);
  }
  return list;
}

/* Encoded properties as a list of (id, value): value is an int, bytes for strings and data, (name, value) for user properties. */
static PyObject *props_list(roam_bytes props) {
  PyObject *list = PyList_New(0);
  roam_prop p;
  while (list != NULL && roam_prop_next(&props, &p) == 1) {
    PyObject *item;
    if (p.id == ROAM_PROP_USER_PROPERTY)
      item = Py_BuildValue("(i(NN))", (int)p.id, text_from_bytes(p.bytes), text_from_bytes(p.value));
    else if (p.bytes.base != NULL)
      item = Py_BuildValue("(iN)", (int)p.id, bytes_from_bytes(p.bytes));
    else
      item = Py_BuildValue("(iI)", (int)p.id, (unsigned)p.number);
    if (item == NULL || PyList_Append(list, item) != 0)
      Py_CLEAR(list);
    Py_XDECREF(item);
  }
  return list;
}

/* The reverse, from separate calls: appends one property to an encoded list and returns the longer one. */
static PyObject *props_add(roam_bytes props, int id, unsigned number, roam_bytes bytes, roam_bytes value) {
  size_t cap = props.len + bytes.len + value.len + 16;
  roam_props out = {.base = malloc(cap), .len = 0, .cap = cap};
  if (out.base == NULL)
    return PyErr_NoMemory();
  if (props.len > 0)
    memcpy(out.base, props.base, props.len);
  out.len = props.len;
  roam_prop p = {.id = (uint8_t)id, .number = number, .bytes = bytes, .value = value};
  roam_rc rc = roam_props_put(&out, &p);
  PyObject *result = NULL;
  if (rc == 0)
    result = PyBytes_FromStringAndSize((const char *)out.base, (Py_ssize_t)out.len);
  else
    raise_code(rc);
  free(out.base);
  return result;
}

/* A throw-away CA and a certificate by it: (ca_certificate, ca_key, certificate, key), PEM as bytes. */
static PyObject *make_identity(const char *common_name, const char *names, int days) {
  roam_identity id;
  memset(&id, 0, sizeof id);
  roam_rc rc = roam_identity_make(&id, common_name, names, roam_wall_unix_s(), (uint32_t)days, false);
  PyObject *result = NULL;
  if (rc == 0)
    result = Py_BuildValue("(yyyy)", id.ca_certificate, id.ca_key, id.certificate, id.key);
  else
    raise_code(rc);
  roam_identity_clear(&id);
  return result;
}

/* Why a password file (or an access list) would be refused, "line 3: ..."; None when it is fine. */
static PyObject *access_error(roam_bytes file, bool acl) {
  roam_access_fault fault = {0};
  if ((acl ? roam_acl_check(file, &fault) : roam_passwords_check(file, &fault)) == 0) {
    Py_INCREF(Py_None);
    return Py_None;
  }
  return PyUnicode_FromFormat("line %u: %s", fault.line, fault.text ? fault.text : "no memory for it");
}

/* NULL-free constructors: raise instead of returning NULL. */
static roam_client *make_client(const roam_client_options *o) {
  roam_rc rc = 0;
  roam_client *client = roam_client_new(o, roam_random_system(), &rc);
  if (client == NULL)
    raise_code(rc);
  return client;
}
static roam_broker *make_broker(const roam_broker_options *o, roam_time now) {
  roam_rc rc = 0;
  roam_broker *broker = roam_broker_new(o, now, roam_random_system(), &rc);
  if (broker == NULL)
    raise_code(rc);
  return broker;
}
static roam_relay *make_relay(const roam_relay_options *o) {
  roam_relay *relay = roam_relay_new(o, roam_random_system());
  if (relay == NULL)
    raise_code(ROAM_E_OPTION);
  return relay;
}
%}
#endif

#if defined(SWIGLUA)
%{
static void set_field_text(lua_State *L, const char *name, roam_bytes bytes) {
  lua_pushlstring(L, bytes.base ? (const char *)bytes.base : "", bytes.len);
  lua_setfield(L, -2, name);
}
static void set_field_integer(lua_State *L, const char *name, int64_t number) {
  lua_pushinteger(L, (lua_Integer)number);
  lua_setfield(L, -2, name);
}
static void set_field_bool(lua_State *L, const char *name, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, name);
}
static void set_field_addr(lua_State *L, const char *name, const roam_addr *addr) {
  push_addr(L, addr);
  lua_setfield(L, -2, name);
}

/* One event as a table; the caller's batch keeps its pointers alive meanwhile. */
static void push_event(lua_State *L, const roam_event *ev) {
  lua_createtable(L, 0, 12);
  lua_pushstring(L, roam_event_name(ev->kind));
  lua_setfield(L, -2, "kind");
  set_field_integer(L, "rc", ev->rc);
  set_field_integer(L, "reason", ev->reason);
  set_field_integer(L, "token", (int64_t)ev->token);
  set_field_integer(L, "at", (int64_t)ev->at);
  set_field_text(L, "id", ev->id);
  if (ev->text != NULL) {
    lua_pushstring(L, ev->text);
    lua_setfield(L, -2, "text");
  }
  switch (body_of(ev->kind)) {
  case BODY_MESSAGE:
    set_field_text(L, "topic", ev->u.message.topic);
    set_field_text(L, "payload", ev->u.message.payload);
    set_field_text(L, "props", ev->u.message.props);
    set_field_integer(L, "qos", ev->u.message.qos);
    set_field_bool(L, "retain", ev->u.message.retain);
    set_field_bool(L, "dup", ev->u.message.dup);
    set_field_integer(L, "packet_id", ev->u.message.packet_id);
    set_field_integer(L, "lane", ev->u.message.lane);
    break;
  case BODY_ACK:
    set_field_text(L, "codes", ev->u.ack.codes);
    set_field_text(L, "props", ev->u.ack.props);
    break;
  case BODY_PATH:
    set_field_addr(L, "local_address", &ev->u.path.local);
    set_field_addr(L, "remote_address", &ev->u.path.remote);
    set_field_addr(L, "old_local_address", &ev->u.path.old_local);
    set_field_addr(L, "old_remote_address", &ev->u.path.old_remote);
    set_field_integer(L, "validation_ns", (int64_t)ev->u.path.validation_ns);
    break;
  case BODY_AUTH:
    set_field_text(L, "method", ev->u.auth.method);
    set_field_text(L, "data", ev->u.auth.data);
    set_field_text(L, "user_name", ev->u.auth.user_name);
    set_field_bool(L, "again", ev->u.auth.again);
    break;
  case BODY_LINK:
    set_field_addr(L, "local_address", &ev->u.link.local);
    set_field_addr(L, "remote_address", &ev->u.link.remote);
    lua_pushstring(L, roam_transport_name(ev->u.link.transport));
    lua_setfield(L, -2, "transport");
    set_field_integer(L, "version", ev->u.link.version);
    set_field_bool(L, "session_present", ev->u.link.session_present);
    set_field_integer(L, "retry_ns", (int64_t)ev->u.link.retry_ns);
    break;
  }
}

static int push_events(lua_State *L, const roam_machine *machine) {
  roam_event ev[64];
  size_t n = machine->ops->poll(machine->self, ev, 64);
  lua_createtable(L, (int)n, 0);
  for (size_t i = 0; i < n; i++) {
    push_event(L, &ev[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* The object of SWIG type `type` at `index`, or an error that says what was expected. */
static void *object_at(lua_State *L, int index, swig_type_info *type, const char *what) {
  void *object = NULL;
  if (!SWIG_IsOK(SWIG_ConvertPtr(L, index, &object, type, 0)) || object == NULL)
    luaL_error(L, "ROAM_E_ARGUMENT: expected %s as argument %d", what, index);
  return object;
}

static int native_client_poll(lua_State *L) {
  roam_machine m = roam_client_machine(object_at(L, 1, SWIGTYPE_p_roam_client, "a client"));
  return push_events(L, &m);
}
static int native_broker_poll(lua_State *L) {
  roam_machine m = roam_broker_machine(object_at(L, 1, SWIGTYPE_p_roam_broker, "a broker"));
  return push_events(L, &m);
}
static int native_relay_poll(lua_State *L) {
  roam_machine m = roam_relay_machine(object_at(L, 1, SWIGTYPE_p_roam_relay, "a nat"));
  return push_events(L, &m);
}

static int push_failure(lua_State *L, roam_rc rc) {
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", roam_error_name(rc), roam_strerror(rc));
  lua_pushinteger(L, rc);
  return 3;
}

static roam_bytes bytes_at(lua_State *L, int index) {
  size_t len = 0;
  const char *base = luaL_optlstring(L, index, "", &len);
  return (roam_bytes){(const uint8_t *)base, len};
}

/* publish(client, now, topic, payload, qos, retain, props, safe_to_repeat) -> token */
static int native_publish(lua_State *L) {
  roam_client *client = object_at(L, 1, SWIGTYPE_p_roam_client, "a client");
  roam_client_message m = {.topic = bytes_at(L, 3), .payload = bytes_at(L, 4), .qos = (uint8_t)luaL_optinteger(L, 5, 0),
                           .retain = lua_toboolean(L, 6), .props = bytes_at(L, 7), .safe_to_repeat = lua_toboolean(L, 8)};
  uint64_t token = 0;
  roam_rc rc = roam_client_publish(client, (roam_time)luaL_checkinteger(L, 2), &m, &token);
  if (rc < 0)
    return push_failure(L, rc);
  lua_pushinteger(L, (lua_Integer)token);
  return 1;
}

/* subscribe(client, now, filter, qos, undo, no_local, retain_as_published, retain_handling, identifier) -> token */
static int native_subscribe(lua_State *L) {
  roam_client *client = object_at(L, 1, SWIGTYPE_p_roam_client, "a client");
  roam_time now = (roam_time)luaL_checkinteger(L, 2);
  roam_filter f = {.filter = bytes_at(L, 3), .qos = (uint8_t)luaL_optinteger(L, 4, 0), .no_local = lua_toboolean(L, 6),
                   .retain_as_published = lua_toboolean(L, 7), .retain_handling = (uint8_t)luaL_optinteger(L, 8, 0),
                   .identifier = (uint32_t)luaL_optinteger(L, 9, 0)};
  uint64_t token = 0;
  roam_rc rc = lua_toboolean(L, 5) ? roam_client_unsubscribe(client, now, &f, 1, &token)
                                   : roam_client_subscribe(client, now, &f, 1, &token);
  if (rc < 0)
    return push_failure(L, rc);
  lua_pushinteger(L, (lua_Integer)token);
  return 1;
}

/* broker_clients(broker) -> list of tables */
static int native_broker_clients(lua_State *L) {
  roam_broker *broker = object_at(L, 1, SWIGTYPE_p_roam_broker, "a broker");
  roam_peer_info info;
  lua_newtable(L);
  for (size_t i = 0; roam_broker_clients(broker, i, &info, 1) == 1; i++) {
    lua_createtable(L, 0, 10);
    set_field_text(L, "client_id", (roam_bytes){(const uint8_t *)info.client_id, strlen(info.client_id)});
    set_field_bool(L, "connected", info.connected);
    lua_pushstring(L, roam_transport_name(info.transport));
    lua_setfield(L, -2, "transport");
    set_field_addr(L, "address", &info.ip_address);
    set_field_addr(L, "connect_address", &info.connect_address);
    set_field_integer(L, "moves", info.moves);
    set_field_integer(L, "connects", info.connects);
    set_field_integer(L, "messages_in", (int64_t)info.messages_in);
    set_field_integer(L, "messages_out", (int64_t)info.messages_out);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* make_identity(common_name, names, days) -> {ca_certificate=, ca_key=, certificate=, key=} */
static int native_make_identity(lua_State *L) {
  roam_identity id;
  memset(&id, 0, sizeof id);
  roam_rc rc = roam_identity_make(&id, luaL_checkstring(L, 1), luaL_checkstring(L, 2), roam_wall_unix_s(),
                                  (uint32_t)luaL_optinteger(L, 3, 1), false);
  if (rc < 0)
    return push_failure(L, rc);
  lua_createtable(L, 0, 4);
  const char *names[] = {"ca_certificate", "ca_key", "certificate", "key"};
  const char *texts[] = {id.ca_certificate, id.ca_key, id.certificate, id.key};
  for (int i = 0; i < 4; i++) {
    lua_pushstring(L, texts[i]);
    lua_setfield(L, -2, names[i]);
  }
  roam_identity_clear(&id);
  return 1;
}

static roam_rc loop_add(roam_loop *loop, roam_machine machine) { return roam_loop_add(loop, machine, NULL, NULL); }
%}
%native(client_poll) int native_client_poll(lua_State *L);
%native(broker_poll) int native_broker_poll(lua_State *L);
%native(relay_poll) int native_relay_poll(lua_State *L);
%native(publish) int native_publish(lua_State *L);
%native(subscribe) int native_subscribe(lua_State *L);
%native(broker_clients) int native_broker_clients(lua_State *L);
%native(make_identity) int native_make_identity(lua_State *L);
%inline %{
/* Each returns nil where C returns NULL; the option_error functions say why. */
static roam_client *make_client(const roam_client_options *o) { return roam_client_new(o, roam_random_system(), NULL); }
static roam_broker *make_broker(const roam_broker_options *o, roam_time now) {
  return roam_broker_new(o, now, roam_random_system(), NULL);
}
static roam_relay *make_relay(const roam_relay_options *o) { return roam_relay_new(o, roam_random_system()); }
static roam_rc loop_add_client(roam_loop *loop, roam_client *c) { return loop_add(loop, roam_client_machine(c)); }
static roam_rc loop_add_broker(roam_loop *loop, roam_broker *b) { return loop_add(loop, roam_broker_machine(b)); }
static roam_rc loop_add_relay(roam_loop *loop, roam_relay *r) { return loop_add(loop, roam_relay_machine(r)); }
static roam_rc loop_remove_client(roam_loop *loop, roam_client *c) { return roam_loop_remove(loop, roam_client_machine(c)); }
static roam_rc loop_remove_broker(roam_loop *loop, roam_broker *b) { return roam_loop_remove(loop, roam_broker_machine(b)); }
static roam_rc loop_remove_relay(roam_loop *loop, roam_relay *r) { return roam_loop_remove(loop, roam_relay_machine(r)); }
%}
#endif

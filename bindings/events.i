/* events.i - events as plain values (Python) or tables (Lua), taken in batches, and the two calls on the path of every message.
 * Scripts poll: no call ever goes from C into a script.
 *
 * In Python an event is (tag, kind, body). The three that come by the thousand have tuples for bodies:
 *   MESSAGE                                     (topic, payload, qos, retain, dup, props, packet_id, lane)
 *   PUBLISHED, SUBSCRIBED, UNSUBSCRIBED         (token, rc, reason, codes, props)
 * All others are dicts under the names of event.h: the members of roam_event, and those of the part of its union that is set. In Lua
 * every event is such a table; `local` is called local_address there, for it is a word of the language. */

%{
typedef enum body_kind { BODY_MESSAGE, BODY_ACK, BODY_PATH, BODY_AUTH, BODY_LANE, BODY_LINK } body_kind;

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
  case ROAM_EV_PATH_TROUBLE:
  case ROAM_EV_PEER_MOVED:
  case ROAM_EV_NAT_REBOUND:
  case ROAM_EV_NAT_RESET:
  case ROAM_EV_NAT_MAPPED:
    return BODY_PATH;
  case ROAM_EV_AUTH:
    return BODY_AUTH;
  case ROAM_EV_LANE_LOST:
  case ROAM_EV_PEER_LANE_LOST:
    return BODY_LANE;
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

/* Takes the reference, also when it is NULL: the error is then set, and found at the end. */
static void put(PyObject *dict, const char *name, PyObject *value) {
  if (value != NULL)
    PyDict_SetItemString(dict, name, value);
  Py_XDECREF(value);
}
static PyObject *from_u64(uint64_t number) { return PyLong_FromUnsignedLongLong(number); }
static PyObject *from_bool(bool value) { return PyBool_FromLong(value); }

static PyObject *text_or_none(roam_bytes bytes) {
  if (bytes.base == NULL)
    Py_RETURN_NONE;
  return text_from_bytes(bytes);
}
static PyObject *bytes_or_none(roam_bytes bytes) {
  if (bytes.base == NULL)
    Py_RETURN_NONE;
  return bytes_from_bytes(bytes);
}

static void put_path(PyObject *body, const roam_event_path *p) {
  put(body, "local", addr_to_object(&p->local));
  put(body, "remote", addr_to_object(&p->remote));
  put(body, "old_local", addr_to_object(&p->old_local));
  put(body, "old_remote", addr_to_object(&p->old_remote));
  put(body, "validation_ns", from_u64(p->validation_ns));
  put(body, "gap_ns", from_u64(p->gap_ns));
}

static void put_auth(PyObject *body, const roam_event_auth *a) {
  put(body, "user_name", text_or_none(a->user_name));
  put(body, "password", bytes_or_none(a->password));
  put(body, "method", text_or_none(a->method));
  put(body, "data", bytes_or_none(a->data));
  put(body, "remote", addr_to_object(&a->remote));
  put(body, "round", from_u64(a->round));
  put(body, "again", from_bool(a->again));
}

static void put_lane(PyObject *body, const roam_event_lane *l) {
  put(body, "lane", from_u64(l->lane));
  put(body, "stream", from_u64(l->stream));
  put(body, "code", from_u64(l->code));
  put(body, "flow", from_u64(l->flow));
  put(body, "unsettled", from_u64(l->unsettled));
}

static void put_link(PyObject *body, const roam_event_link *l) {
  put(body, "local", addr_to_object(&l->local));
  put(body, "remote", addr_to_object(&l->remote));
  put(body, "retry_ns", from_u64(l->retry_ns));
  put(body, "attempt", from_u64(l->attempt));
  put(body, "transport", PyUnicode_FromString(roam_transport_name(l->transport)));
  put(body, "version", from_u64(l->version));
  put(body, "session_present", from_bool(l->session_present));
}

/* Takes the dict as well: NULL in, NULL out. */
static PyObject *whole_or_null(PyObject *dict) {
  if (PyErr_Occurred())
    Py_CLEAR(dict);
  return dict;
}

static PyObject *rare_body(const roam_event *ev) {
  PyObject *body = Py_BuildValue("{s:i,s:i,s:K,s:K,s:K,s:N,s:z}", "rc", ev->rc, "reason", ev->reason, "token",
                                 (unsigned long long)ev->token, "peer", (unsigned long long)ev->peer, "at",
                                 (unsigned long long)ev->at, "id", text_from_bytes(ev->id), "text", ev->text);
  if (body == NULL)
    return NULL;
  switch (body_of(ev->kind)) {
  case BODY_PATH:
    put_path(body, &ev->u.path);
    break;
  case BODY_AUTH:
    put_auth(body, &ev->u.auth);
    break;
  case BODY_LANE:
    put_lane(body, &ev->u.lane);
    break;
  default:
    put_link(body, &ev->u.link);
    break;
  }
  return whole_or_null(body);
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
  default:
    body = rare_body(ev);
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
                         int qos, bool retain, bool safe_to_repeat, bool datagram, uint32_t lane) {
  roam_client_message m = {.topic = topic, .payload = payload, .props = props, .qos = (uint8_t)qos, .retain = retain,
                           .safe_to_repeat = safe_to_repeat, .datagram = datagram, .lane = lane};
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
                           bool retain_as_published, int retain_handling, bool undo, unsigned identifier, bool datagram,
                           uint32_t lane) {
  roam_filter f = {.filter = filter, .qos = (uint8_t)qos, .no_local = no_local, .retain_as_published = retain_as_published,
                   .retain_handling = (uint8_t)retain_handling, .identifier = identifier};
  uint64_t token = 0;
  roam_rc rc;
  Py_BEGIN_ALLOW_THREADS
  roam_time now = roam_thread_lock(thread);
  roam_client_subscribe_how how = {.lane = lane, .datagram = datagram};
  rc = undo ? roam_client_unsubscribe(client, now, &f, 1, &token)
            : roam_client_subscribe_how_to(client, now, &f, 1, &how, &token);
  roam_thread_unlock(thread);
  Py_END_ALLOW_THREADS
  if (rc < 0) {
    raise_code(rc);
    return NULL;
  }
  return PyLong_FromUnsignedLongLong(token);
}

/* An event of that kind in which nothing is set, as thread_drain would give it: for the test that compares names. */
static PyObject *sample_event(int kind) {
  roam_event ev;
  memset(&ev, 0, sizeof ev);
  ev.kind = (roam_event_kind)kind;
  return event_tuple(0, &ev);
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

/* A certificate, by a throw-away CA or by the one given: (ca_certificate, ca_key, certificate, key), PEM as bytes. */
static PyObject *make_identity(const char *common_name, const char *names, int days, bool client, roam_bytes ca_certificate,
                               roam_bytes ca_key) {
  roam_identity id;
  memset(&id, 0, sizeof id);
  int64_t wall = roam_wall_unix_s();
  roam_rc rc = days < 1 ? ROAM_E_ARGUMENT
               : ca_certificate.len > 0
                 ? roam_identity_issue(&id, ca_certificate, ca_key, common_name, names, wall, (uint32_t)days, client)
                 : roam_identity_make(&id, common_name, names, wall, (uint32_t)days, client);
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
/* A view whose base is NULL was not given: the field stays nil. */
static void set_field_given(lua_State *L, const char *name, roam_bytes bytes) {
  if (bytes.base != NULL)
    set_field_text(L, name, bytes);
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
  lua_createtable(L, 0, 16);
  lua_pushstring(L, roam_event_name(ev->kind));
  lua_setfield(L, -2, "kind");
  set_field_integer(L, "rc", ev->rc);
  set_field_integer(L, "reason", ev->reason);
  set_field_integer(L, "token", (int64_t)ev->token);
  set_field_integer(L, "peer", (int64_t)ev->peer);
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
    set_field_addr(L, "remote", &ev->u.path.remote);
    set_field_addr(L, "old_local", &ev->u.path.old_local);
    set_field_addr(L, "old_remote", &ev->u.path.old_remote);
    set_field_integer(L, "validation_ns", (int64_t)ev->u.path.validation_ns);
    set_field_integer(L, "gap_ns", (int64_t)ev->u.path.gap_ns);
    break;
  case BODY_AUTH:
    set_field_given(L, "user_name", ev->u.auth.user_name);
    set_field_given(L, "password", ev->u.auth.password);
    set_field_given(L, "method", ev->u.auth.method);
    set_field_given(L, "data", ev->u.auth.data);
    set_field_addr(L, "remote", &ev->u.auth.remote);
    set_field_integer(L, "round", ev->u.auth.round);
    set_field_bool(L, "again", ev->u.auth.again);
    break;
  case BODY_LANE:
    set_field_integer(L, "lane", ev->u.lane.lane);
    set_field_integer(L, "stream", ev->u.lane.stream);
    set_field_integer(L, "code", (int64_t)ev->u.lane.code);
    set_field_integer(L, "flow", (int64_t)ev->u.lane.flow);
    set_field_integer(L, "unsettled", ev->u.lane.unsettled);
    break;
  case BODY_LINK:
    set_field_addr(L, "local_address", &ev->u.link.local);
    set_field_addr(L, "remote", &ev->u.link.remote);
    set_field_integer(L, "attempt", ev->u.link.attempt);
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

/* publish(client, now, topic, payload, qos, retain, props, safe_to_repeat, datagram, lane) -> token */
static int native_publish(lua_State *L) {
  roam_client *client = object_at(L, 1, SWIGTYPE_p_roam_client, "a client");
  roam_client_message m = {.topic = bytes_at(L, 3), .payload = bytes_at(L, 4), .qos = (uint8_t)luaL_optinteger(L, 5, 0),
                           .retain = lua_toboolean(L, 6), .props = bytes_at(L, 7), .safe_to_repeat = lua_toboolean(L, 8),
                           .datagram = lua_toboolean(L, 9), .lane = (uint32_t)luaL_optinteger(L, 10, 0)};
  uint64_t token = 0;
  roam_rc rc = roam_client_publish(client, (roam_time)luaL_checkinteger(L, 2), &m, &token);
  if (rc < 0)
    return push_failure(L, rc);
  lua_pushinteger(L, (lua_Integer)token);
  return 1;
}

/* subscribe(client, now, filter, qos, undo, no_local, retain_as_published, retain_handling, identifier, datagram,
 * lane) -> token */
static int native_subscribe(lua_State *L) {
  roam_client *client = object_at(L, 1, SWIGTYPE_p_roam_client, "a client");
  roam_time now = (roam_time)luaL_checkinteger(L, 2);
  roam_filter f = {.filter = bytes_at(L, 3), .qos = (uint8_t)luaL_optinteger(L, 4, 0), .no_local = lua_toboolean(L, 6),
                   .retain_as_published = lua_toboolean(L, 7), .retain_handling = (uint8_t)luaL_optinteger(L, 8, 0),
                   .identifier = (uint32_t)luaL_optinteger(L, 9, 0)};
  roam_client_subscribe_how how = {.datagram = lua_toboolean(L, 10), .lane = (uint32_t)luaL_optinteger(L, 11, 0)};
  uint64_t token = 0;
  roam_rc rc = lua_toboolean(L, 5) ? roam_client_unsubscribe(client, now, &f, 1, &token)
                                   : roam_client_subscribe_how_to(client, now, &f, 1, &how, &token);
  if (rc < 0)
    return push_failure(L, rc);
  lua_pushinteger(L, (lua_Integer)token);
  return 1;
}

/* sample_event(kind) -> an event of that kind in which nothing is set */
static int native_sample_event(lua_State *L) {
  roam_event ev;
  memset(&ev, 0, sizeof ev);
  ev.kind = (roam_event_kind)luaL_checkinteger(L, 1);
  push_event(L, &ev);
  return 1;
}

/* make_identity(common_name, names, days, client, ca_certificate, ca_key) -> {ca_certificate=, ca_key=, certificate=, key=} */
static int native_make_identity(lua_State *L) {
  roam_identity id;
  memset(&id, 0, sizeof id);
  const char *common_name = luaL_checkstring(L, 1), *hosts = luaL_optstring(L, 2, "");
  uint32_t days = (uint32_t)luaL_optinteger(L, 3, 1);
  bool client = lua_toboolean(L, 4);
  roam_bytes ca = bytes_at(L, 5), ca_key = bytes_at(L, 6);
  roam_rc rc = ca.len > 0 ? roam_identity_issue(&id, ca, ca_key, common_name, hosts, roam_wall_unix_s(), days, client)
                          : roam_identity_make(&id, common_name, hosts, roam_wall_unix_s(), days, client);
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
%native(sample_event) int native_sample_event(lua_State *L);
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

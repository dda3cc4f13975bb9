/* codec.i - packets <-> bytes without a session: what roamqtt.mqtt of both packages stands on. Python gets and gives dicts and plain
 * values, which the package turns into Packet objects; Lua gets and gives the tables its users see. */

%{
static bool is_binary_prop(int id) { return id == ROAM_PROP_CORRELATION_DATA || id == ROAM_PROP_AUTHENTICATION_DATA; }

/* CONNECT comes before a connection has a version. */
static roam_rc read_packet(roam_bytes bytes, int version, bool from_server, uint32_t maximum, roam_packet *p, size_t *used,
                           roam_fault *fault) {
  bool connect = bytes.len > 0 && bytes.base[0] >> 4 == ROAM_CONNECT;
  return roam_packet_read(bytes, connect ? 0 : (uint8_t)version, maximum, from_server, p, used, fault);
}

static bool is_version(int version) {
  return version == 0 || version == ROAM_MQTT_31 || version == ROAM_MQTT_311 || version == ROAM_MQTT_5;
}
%}

#if defined(SWIGPYTHON)
%{
static void raise_text(int code, const char *text, int reason) {
  PyObject *error = PyObject_CallFunction(error_factory, "issi", code, roam_error_name(code), text, reason);
  if (error == NULL)
    return;
  PyErr_SetObject((PyObject *)Py_TYPE(error), error);
  Py_DECREF(error);
}

static PyObject *prop_value(const roam_prop *p) {
  if (p->id == ROAM_PROP_USER_PROPERTY)
    return Py_BuildValue("(NN)", text_from_bytes(p->bytes), text_from_bytes(p->value));
  if (p->bytes.base == NULL)
    return PyLong_FromUnsignedLong(p->number);
  return is_binary_prop(p->id) ? bytes_from_bytes(p->bytes) : text_from_bytes(p->bytes);
}

static PyObject *props_to_list(roam_bytes props) {
  PyObject *list = PyList_New(0);
  roam_prop p;
  while (list != NULL && roam_prop_next(&props, &p) == 1) {
    PyObject *item = Py_BuildValue("(iN)", (int)p.id, prop_value(&p));
    if (item == NULL || PyList_Append(list, item) != 0)
      Py_CLEAR(list);
    Py_XDECREF(item);
  }
  return list;
}

static PyObject *filters_to_list(const roam_packet *p) {
  PyObject *list = PyList_New(0);
  roam_bytes rest = p->filters;
  roam_filter f;
  while (list != NULL && roam_filter_next(&rest, p->type, &f) == 1) {
    PyObject *item = Py_BuildValue("(NiNNi)", text_from_bytes(f.filter), (int)f.qos, PyBool_FromLong(f.no_local),
                                   PyBool_FromLong(f.retain_as_published), (int)f.retain_handling);
    if (item == NULL || PyList_Append(list, item) != 0)
      Py_CLEAR(list);
    Py_XDECREF(item);
  }
  return list;
}

static PyObject *none(void) {
  Py_INCREF(Py_None);
  return Py_None;
}

static PyObject *connect_to_dict(const roam_packet *p) {
  PyObject *will = !p->connect.has_will
                     ? none()
                     : Py_BuildValue("(NNiNN)", text_from_bytes(p->connect.will_topic), bytes_from_bytes(p->connect.will_payload),
                                     (int)p->connect.will_qos, PyBool_FromLong(p->connect.will_retain),
                                     props_to_list(p->connect.will_props));
  return Py_BuildValue("{s:i,s:i,s:N,s:N,s:N,s:i,s:N,s:N,s:N}", "type", (int)p->type, "version", (int)p->version, "properties",
                       props_to_list(p->props), "client_id", text_from_bytes(p->connect.client_id), "clean_start",
                       PyBool_FromLong(p->connect.clean_start), "keep_alive", (int)p->connect.keep_alive_s, "user_name",
                       p->connect.has_user_name ? text_from_bytes(p->connect.user_name) : none(), "password",
                       p->connect.has_password ? bytes_from_bytes(p->connect.password) : none(), "will", will);
}

static PyObject *packet_to_dict(const roam_packet *p) {
  if (p->type == ROAM_CONNECT)
    return connect_to_dict(p);
  return Py_BuildValue("{s:i,s:i,s:i,s:N,s:N,s:N,s:i,s:i,s:N,s:N,s:N,s:N,s:N}", "type", (int)p->type, "version", (int)p->version,
                       "qos", (int)p->qos, "dup", PyBool_FromLong(p->dup), "retain", PyBool_FromLong(p->retain),
                       "session_present", PyBool_FromLong(p->session_present), "reason", (int)p->reason, "packet_id",
                       (int)p->packet_id, "properties", props_to_list(p->props), "topic", text_from_bytes(p->topic), "payload",
                       bytes_from_bytes(p->payload), "filters", filters_to_list(p), "codes", bytes_from_bytes(p->codes));
}

static PyObject *packet_to_bytes(const roam_packet *p) {
  size_t size = roam_packet_size(p), len = 0;
  PyObject *bytes = size > 0 ? PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size) : NULL;
  if (size > 0 && bytes == NULL)
    return NULL;
  if (bytes == NULL || roam_packet_write(p, (uint8_t *)PyBytes_AS_STRING(bytes), size, &len) != 0) {
    Py_XDECREF(bytes);
    raise_text(ROAM_E_ARGUMENT, "a field of the packet cannot be, or not in this type and version", -1);
    return NULL;
  }
  return bytes;
}

static roam_rc put_prop_object(roam_props *out, int id, PyObject *value) {
  roam_bytes a, b;
  Py_ssize_t len = 0;
  if (PyLong_Check(value)) {
    unsigned long number = PyLong_AsUnsignedLong(value);
    bool bad = PyErr_Occurred() != NULL || number > UINT32_MAX;
    PyErr_Clear();
    return bad ? ROAM_E_ARGUMENT : roam_props_put_number(out, id, (uint32_t)number);
  }
  if (PyBytes_Check(value)) {
    a = (roam_bytes){(const uint8_t *)PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value)};
    return roam_props_put_bytes(out, id, a);
  }
  if (PyUnicode_Check(value)) {
    a.base = (const uint8_t *)PyUnicode_AsUTF8AndSize(value, &len);
    a.len = (size_t)len;
    return a.base == NULL ? ROAM_E_ARGUMENT : roam_props_put_bytes(out, id, a);
  }
  const char *name = NULL, *text = NULL;
  Py_ssize_t name_len = 0;
  if (id != ROAM_PROP_USER_PROPERTY || !PyTuple_Check(value) || !PyArg_ParseTuple(value, "s#s#", &name, &name_len, &text, &len))
    return ROAM_E_ARGUMENT;
  a = (roam_bytes){(const uint8_t *)name, (size_t)name_len};
  b = (roam_bytes){(const uint8_t *)text, (size_t)len};
  return roam_props_put_user(out, a, b);
}

static bool is_byte(int number) { return number >= 0 && number <= UINT8_MAX; }
static bool is_short(int number) { return number >= 0 && number <= UINT16_MAX; }
%}
%inline %{
/* The first packet in data as (fields, bytes used); None: more bytes are needed. */
static PyObject *packet_decode(roam_bytes data, int version, bool from_server, unsigned maximum) {
  roam_packet p;
  roam_fault fault;
  size_t used = 0;
  if (!is_version(version)) {
    raise_text(ROAM_E_ARGUMENT, "version is 3, 4 or 5, or 0 while only CONNECT may come", -1);
    return NULL;
  }
  if (read_packet(data, version, from_server, maximum, &p, &used, &fault) != 0) {
    raise_text(fault.rc, fault.text, fault.reason);
    return NULL;
  }
  return used == 0 ? none() : Py_BuildValue("(Nn)", packet_to_dict(&p), (Py_ssize_t)used);
}

/* flags: 1 DUP, 2 RETAIN, 4 session present. */
static PyObject *packet_encode(int type, int version, int qos, int flags, int reason, int packet_id, roam_bytes topic,
                               roam_bytes payload, roam_bytes props, roam_bytes filters, roam_bytes codes) {
  if (!is_byte(type) || !is_byte(version) || !is_byte(qos) || !is_byte(reason) || !is_short(packet_id)) {
    raise_text(ROAM_E_ARGUMENT, "a number of the packet is out of its range", -1);
    return NULL;
  }
  roam_packet p = {.type = (uint8_t)type, .version = (uint8_t)version, .qos = (uint8_t)qos, .dup = (flags & 1) != 0,
                   .retain = (flags & 2) != 0, .session_present = (flags & 4) != 0, .reason = (uint8_t)reason,
                   .packet_id = (uint16_t)packet_id, .topic = topic, .payload = payload, .props = props, .filters = filters,
                   .codes = codes};
  return packet_to_bytes(&p);
}

/* flags: 1 clean start, 2 will, 4 user name, 8 password, 16 will retain. */
static PyObject *connect_encode(int version, int flags, int keep_alive, int will_qos, roam_bytes client_id, roam_bytes props,
                                roam_bytes user_name, roam_bytes password_bytes, roam_bytes will_topic, roam_bytes will_bytes,
                                roam_bytes will_props) {
  if (!is_byte(version) || !is_short(keep_alive) || !is_byte(will_qos)) {
    raise_text(ROAM_E_ARGUMENT, "a number of the packet is out of its range", -1);
    return NULL;
  }
  roam_packet p = {.type = ROAM_CONNECT, .version = (uint8_t)version, .props = props};
  p.connect.clean_start = (flags & 1) != 0;
  p.connect.has_will = (flags & 2) != 0;
  p.connect.has_user_name = (flags & 4) != 0;
  p.connect.has_password = (flags & 8) != 0;
  p.connect.will_retain = (flags & 16) != 0;
  p.connect.keep_alive_s = (uint16_t)keep_alive;
  p.connect.will_qos = (uint8_t)will_qos;
  p.connect.client_id = client_id;
  p.connect.user_name = user_name;
  p.connect.password = password_bytes;
  p.connect.will_topic = will_topic;
  p.connect.will_payload = will_bytes;
  p.connect.will_props = will_props;
  return packet_to_bytes(&p);
}

/* A list of (id, value), encoded; values as packet_decode gives them. */
static PyObject *props_encode(PyObject *pairs) {
  PyObject *list = PySequence_Fast(pairs, "properties are a list of (id, value)"), *result = NULL;
  uint8_t *memory = NULL;
  roam_props out = {.cap = 256};
  Py_ssize_t at = 0;
  while (list != NULL && (memory = realloc(out.base, out.cap)) != NULL) {
    int id = 0;
    PyObject *value = NULL, *pair = at < PySequence_Fast_GET_SIZE(list) ? PySequence_Fast_GET_ITEM(list, at) : NULL;
    out.base = memory;
    if (pair == NULL) {
      result = PyBytes_FromStringAndSize((const char *)out.base, (Py_ssize_t)out.len);
      break;
    }
    if (!PyTuple_Check(pair) || !PyArg_ParseTuple(pair, "iO", &id, &value)) {
      PyErr_SetString(PyExc_TypeError, "a property is a tuple (id, value)");
      break;
    }
    roam_rc rc = roam_prop_name(id) == NULL ? ROAM_E_ARGUMENT : put_prop_object(&out, id, value);
    if (rc == 0) {
      at++;
    } else if (rc == ROAM_E_LIMIT) {
      out.cap *= 2;
    } else {
      PyErr_Clear();
      char text[96];
      snprintf(text, sizeof text, "property %s cannot have this value", roam_prop_name(id) ? roam_prop_name(id) : "of unknown id");
      raise_text(ROAM_E_ARGUMENT, text, -1);
      break;
    }
  }
  if (list != NULL && memory == NULL)
    PyErr_NoMemory();
  Py_XDECREF(list);
  free(out.base);
  return result;
}

/* An entry for the list of a SUBSCRIBE or UNSUBSCRIBE, encoded. */
static PyObject *filter_encode(int type, roam_bytes filter, int qos, bool no_local, bool retain_as_published,
                               int retain_handling) {
  size_t len = 0, cap = filter.len + 3;
  PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)cap);
  roam_filter f = {.filter = filter, .qos = is_byte(qos) ? (uint8_t)qos : 3, .no_local = no_local,
                   .retain_as_published = retain_as_published,
                   .retain_handling = is_byte(retain_handling) ? (uint8_t)retain_handling : 3};
  if (bytes == NULL)
    return NULL;
  if (roam_filter_put((uint8_t *)PyBytes_AS_STRING(bytes), cap, &len, type, &f) != 0) {
    Py_DECREF(bytes);
    raise_text(ROAM_E_ARGUMENT, "a topic filter is not well formed, or its options are out of range", -1);
    return NULL;
  }
  _PyBytes_Resize(&bytes, (Py_ssize_t)len);
  return bytes;
}
%}
#endif

#if defined(SWIGLUA)
%{
static void push_text(lua_State *L, roam_bytes bytes) { lua_pushlstring(L, bytes.base ? (const char *)bytes.base : "", bytes.len); }

static void push_user_pair(lua_State *L, const roam_prop *p) {
  lua_createtable(L, 2, 0);
  push_text(L, p->bytes);
  lua_rawseti(L, -2, 1);
  push_text(L, p->value);
  lua_rawseti(L, -2, 2);
}

/* { {"CONTENT_TYPE", "text"}, {"USER_PROPERTY", {"name", "value"}}, ... } */
static void set_field_props(lua_State *L, const char *name, roam_bytes props) {
  roam_prop p;
  lua_newtable(L);
  for (lua_Integer i = 1; roam_prop_next(&props, &p) == 1; i++) {
    lua_createtable(L, 2, 0);
    lua_pushstring(L, roam_prop_name(p.id));
    lua_rawseti(L, -2, 1);
    if (p.id == ROAM_PROP_USER_PROPERTY)
      push_user_pair(L, &p);
    else if (p.bytes.base != NULL)
      push_text(L, p.bytes);
    else
      lua_pushinteger(L, (lua_Integer)p.number);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, i);
  }
  lua_setfield(L, -2, name);
}

static void set_connect_fields(lua_State *L, const roam_packet *p) {
  set_field_text(L, "client_id", p->connect.client_id);
  set_field_bool(L, "clean_start", p->connect.clean_start);
  set_field_integer(L, "keep_alive", p->connect.keep_alive_s);
  if (p->connect.has_user_name)
    set_field_text(L, "user_name", p->connect.user_name);
  if (p->connect.has_password)
    set_field_text(L, "password", p->connect.password);
  if (!p->connect.has_will)
    return;
  lua_createtable(L, 0, 5);
  set_field_text(L, "topic", p->connect.will_topic);
  set_field_text(L, "payload", p->connect.will_payload);
  set_field_integer(L, "qos", p->connect.will_qos);
  set_field_bool(L, "retain", p->connect.will_retain);
  set_field_props(L, "properties", p->connect.will_props);
  lua_setfield(L, -2, "will");
}

static void set_publish_fields(lua_State *L, const roam_packet *p) {
  set_field_text(L, "topic", p->topic);
  set_field_text(L, "payload", p->payload);
  set_field_integer(L, "qos", p->qos);
  set_field_bool(L, "dup", p->dup);
  set_field_bool(L, "retain", p->retain);
}

static void set_filters_field(lua_State *L, const roam_packet *p) {
  roam_bytes rest = p->filters;
  roam_filter f;
  lua_newtable(L);
  for (lua_Integer i = 1; roam_filter_next(&rest, p->type, &f) == 1; i++) {
    lua_createtable(L, 0, 5);
    set_field_text(L, "filter", f.filter);
    if (p->type == ROAM_SUBSCRIBE) {
      set_field_integer(L, "qos", f.qos);
      set_field_bool(L, "no_local", f.no_local);
      set_field_bool(L, "retain_as_published", f.retain_as_published);
      set_field_integer(L, "retain_handling", f.retain_handling);
    }
    lua_rawseti(L, -2, i);
  }
  lua_setfield(L, -2, "filters");
}

static void set_codes_field(lua_State *L, roam_bytes codes) {
  lua_createtable(L, (int)codes.len, 0);
  for (size_t i = 0; i < codes.len; i++) {
    lua_pushinteger(L, codes.base[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "codes");
}

static void push_packet(lua_State *L, const roam_packet *p) {
  lua_createtable(L, 0, 12);
  lua_pushstring(L, roam_packet_name(p->type));
  lua_setfield(L, -2, "type");
  set_field_integer(L, "version", p->version);
  set_field_integer(L, "packet_id", p->packet_id);
  set_field_integer(L, "reason", p->reason);
  set_field_props(L, "properties", p->props);
  switch (p->type) {
  case ROAM_CONNECT:
    set_connect_fields(L, p);
    break;
  case ROAM_CONNACK:
    set_field_bool(L, "session_present", p->session_present);
    break;
  case ROAM_PUBLISH:
    set_publish_fields(L, p);
    break;
  case ROAM_SUBSCRIBE:
  case ROAM_UNSUBSCRIBE:
    set_filters_field(L, p);
    break;
  case ROAM_SUBACK:
  case ROAM_UNSUBACK:
    set_codes_field(L, p->codes);
    break;
  default:
    break;
  }
}

/* packet_decode(bytes, version = 5, from_server = false, maximum) -> packet, used; nil, "more"; nil, message, code, reason */
static int native_packet_decode(lua_State *L) {
  roam_packet p;
  roam_fault fault;
  size_t used = 0, len = 0;
  const char *base = luaL_checklstring(L, 1, &len);
  int version = (int)luaL_optinteger(L, 2, 5);
  luaL_argcheck(L, is_version(version), 2, "version is 3, 4 or 5, or 0 while only CONNECT may come");
  lua_Integer maximum = luaL_optinteger(L, 4, UINT32_MAX);
  luaL_argcheck(L, maximum > 0 && maximum <= (lua_Integer)UINT32_MAX, 4, "maximum is a number of bytes");
  roam_bytes bytes = {(const uint8_t *)base, len};
  if (read_packet(bytes, version, lua_toboolean(L, 3), (uint32_t)maximum, &p, &used, &fault) != 0) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", roam_error_name(fault.rc), fault.text);
    lua_pushinteger(L, fault.rc);
    lua_pushinteger(L, fault.reason);
    return 4;
  }
  if (used == 0) {
    lua_pushnil(L);
    lua_pushliteral(L, "more");
    return 2;
  }
  push_packet(L, &p);
  lua_pushinteger(L, (lua_Integer)used);
  return 2;
}

/* The getters leave the value on the stack where it must outlive the call: strings point into it. */
static roam_bytes text_field(lua_State *L, int table, const char *name) {
  size_t len = 0;
  int type = lua_getfield(L, table, name);
  if (type != LUA_TNIL && type != LUA_TSTRING)
    luaL_error(L, "ROAM_E_ARGUMENT: packet field '%s' is a string, got %s", name, luaL_typename(L, -1));
  const char *base = type == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
  return (roam_bytes){(const uint8_t *)base, len};
}

static uint32_t integer_field(lua_State *L, int table, const char *name, uint32_t most, uint32_t otherwise) {
  int type = lua_getfield(L, table, name), whole = 1;
  lua_Integer number = type == LUA_TNIL ? (lua_Integer)otherwise : lua_tointegerx(L, -1, &whole);
  if (!whole || number < 0 || number > (lua_Integer)most)
    luaL_error(L, "ROAM_E_ARGUMENT: packet field '%s' is a number from 0 to %d", name, (int)most);
  lua_pop(L, 1);
  return (uint32_t)number;
}

static bool bool_field(lua_State *L, int table, const char *name) {
  lua_getfield(L, table, name);
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

static int prop_id_at(lua_State *L, int index) {
  if (lua_isinteger(L, index))
    return (int)lua_tointeger(L, index);
  const char *name = lua_tostring(L, index);
  for (int id = 1; name != NULL && id < 128; id++)
    if (roam_prop_name(id) != NULL && strcmp(roam_prop_name(id), name) == 0)
      return id;
  return 0;
}

/* The string at place n of the table on top, which stays referenced by that table. */
static roam_bytes text_item(lua_State *L, int n) {
  size_t len = 0;
  lua_rawgeti(L, -1, n);
  const char *base = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
  lua_pop(L, 1);
  return (roam_bytes){(const uint8_t *)base, len};
}

static roam_rc put_prop_at_top(lua_State *L, roam_props *out, int id) {
  size_t len = 0;
  if (lua_type(L, -1) == LUA_TNUMBER) {
    int whole = 0;
    lua_Integer number = lua_tointegerx(L, -1, &whole);
    return whole && number >= 0 && number <= (lua_Integer)UINT32_MAX ? roam_props_put_number(out, id, (uint32_t)number)
                                                                     : ROAM_E_ARGUMENT;
  }
  if (lua_type(L, -1) == LUA_TSTRING) {
    const char *base = lua_tolstring(L, -1, &len);
    return roam_props_put_bytes(out, id, (roam_bytes){(const uint8_t *)base, len});
  }
  if (lua_type(L, -1) != LUA_TTABLE || id != ROAM_PROP_USER_PROPERTY)
    return ROAM_E_ARGUMENT;
  roam_bytes name = text_item(L, 1), value = text_item(L, 2);
  return name.base == NULL || value.base == NULL ? ROAM_E_ARGUMENT : roam_props_put_user(out, name, value);
}

/* An upper bound of what the list on top takes. */
static size_t measure_props(lua_State *L) {
  size_t sum = 0, n = lua_rawlen(L, -1);
  for (size_t i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i);
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_rawgeti(L, -1, 2);
    if (lua_type(L, -1) == LUA_TTABLE)
      sum += text_item(L, 1).len + text_item(L, 2).len;
    else if (lua_type(L, -1) == LUA_TSTRING)
      sum += lua_rawlen(L, -1);
    sum += 8;
    lua_pop(L, 2);
  }
  return sum;
}

/* Encoded, in memory of the script's that stays on the stack. */
static roam_bytes props_field(lua_State *L, int table, const char *name) {
  if (lua_getfield(L, table, name) == LUA_TNIL)
    return (roam_bytes){NULL, 0};
  luaL_checktype(L, -1, LUA_TTABLE);
  int list = lua_gettop(L);
  roam_props out = {.cap = measure_props(L)};
  out.base = lua_newuserdata(L, out.cap + 1);
  for (size_t i = 1, n = lua_rawlen(L, list); i <= n; i++) {
    lua_rawgeti(L, list, (lua_Integer)i);
    lua_rawgeti(L, -1, 1);
    int id = prop_id_at(L, -1);
    lua_pop(L, 1);
    lua_rawgeti(L, -1, 2);
    if (roam_prop_name(id) == NULL || put_prop_at_top(L, &out, id) != 0)
      luaL_error(L, "ROAM_E_ARGUMENT: property %d (%s) cannot have this value", (int)i,
                 roam_prop_name(id) ? roam_prop_name(id) : "unknown");
    lua_pop(L, 2);
  }
  return (roam_bytes){out.base, out.len};
}

/* props_encode(list) -> string */
static int native_props_encode(lua_State *L) {
  lua_settop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, 1);
  lua_setfield(L, 2, "properties");
  push_text(L, props_field(L, 2, "properties"));
  return 1;
}

/* props_decode(string) -> list, as in a decoded packet */
static int native_props_decode(lua_State *L) {
  size_t len = 0;
  const char *base = luaL_checklstring(L, 1, &len);
  lua_newtable(L);
  set_field_props(L, "properties", (roam_bytes){(const uint8_t *)base, len});
  lua_getfield(L, -1, "properties");
  return 1;
}

static roam_bytes filters_field(lua_State *L, int table, int type) {
  if (lua_getfield(L, table, "filters") == LUA_TNIL)
    return (roam_bytes){NULL, 0};
  luaL_checktype(L, -1, LUA_TTABLE);
  int list = lua_gettop(L);
  size_t n = lua_rawlen(L, list), cap = 0, len = 0;
  for (size_t i = 1; i <= n; i++) {
    lua_rawgeti(L, list, (lua_Integer)i);
    luaL_checktype(L, -1, LUA_TTABLE);
    cap += text_field(L, lua_gettop(L), "filter").len + 3;
    lua_pop(L, 2);
  }
  uint8_t *out = lua_newuserdata(L, cap + 1);
  for (size_t i = 1; i <= n; i++) {
    lua_rawgeti(L, list, (lua_Integer)i);
    int item = lua_gettop(L);
    roam_filter f = {.qos = (uint8_t)integer_field(L, item, "qos", 2, 0), .no_local = bool_field(L, item, "no_local"),
                     .retain_as_published = bool_field(L, item, "retain_as_published"),
                     .retain_handling = (uint8_t)integer_field(L, item, "retain_handling", 2, 0)};
    f.filter = text_field(L, item, "filter");
    if (roam_filter_put(out, cap, &len, type, &f) != 0)
      luaL_error(L, "ROAM_E_ARGUMENT: topic filter %d is not well formed", (int)i);
    lua_pop(L, 2);
  }
  return (roam_bytes){out, len};
}

static roam_bytes codes_field(lua_State *L, int table) {
  if (lua_getfield(L, table, "codes") == LUA_TNIL)
    return (roam_bytes){NULL, 0};
  luaL_checktype(L, -1, LUA_TTABLE);
  int list = lua_gettop(L);
  size_t n = lua_rawlen(L, list);
  uint8_t *out = lua_newuserdata(L, n + 1);
  for (size_t i = 1; i <= n; i++) {
    lua_rawgeti(L, list, (lua_Integer)i);
    lua_Integer code = lua_tointeger(L, -1);
    luaL_argcheck(L, code >= 0 && code <= UINT8_MAX, 1, "codes are numbers from 0 to 255");
    out[i - 1] = (uint8_t)code;
    lua_pop(L, 1);
  }
  return (roam_bytes){out, n};
}

static void get_connect_fields(lua_State *L, int table, roam_packet *p) {
  p->connect.clean_start = bool_field(L, table, "clean_start");
  p->connect.keep_alive_s = (uint16_t)integer_field(L, table, "keep_alive", UINT16_MAX, 0);
  p->connect.client_id = text_field(L, table, "client_id");
  p->connect.user_name = text_field(L, table, "user_name");
  p->connect.has_user_name = p->connect.user_name.base != NULL;
  p->connect.password = text_field(L, table, "password");
  p->connect.has_password = p->connect.password.base != NULL;
  if (lua_getfield(L, table, "will") == LUA_TNIL)
    return;
  luaL_checktype(L, -1, LUA_TTABLE);
  int will = lua_gettop(L);
  p->connect.has_will = true;
  p->connect.will_qos = (uint8_t)integer_field(L, will, "qos", 2, 0);
  p->connect.will_retain = bool_field(L, will, "retain");
  p->connect.will_topic = text_field(L, will, "topic");
  p->connect.will_payload = text_field(L, will, "payload");
  p->connect.will_props = props_field(L, will, "properties");
}

static int type_field(lua_State *L, int table) {
  lua_getfield(L, table, "type");
  int type = 0;
  for (int i = ROAM_CONNECT; lua_type(L, -1) == LUA_TSTRING && i <= ROAM_AUTH; i++)
    if (strcmp(roam_packet_name(i), lua_tostring(L, -1)) == 0)
      type = i;
  lua_pop(L, 1);
  return type != 0 ? type : luaL_error(L, "ROAM_E_ARGUMENT: packet field 'type' is a name such as 'PUBLISH'");
}

/* packet_encode(packet) -> bytes; nil, message, code when the fields do not make a packet. Raises for fields of a wrong kind. */
static int native_packet_encode(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkstack(L, 40, "packet");
  roam_packet p = {.type = (uint8_t)type_field(L, 1), .version = (uint8_t)integer_field(L, 1, "version", 5, 5)};
  p.qos = (uint8_t)integer_field(L, 1, "qos", 2, 0);
  p.dup = bool_field(L, 1, "dup");
  p.retain = bool_field(L, 1, "retain");
  p.session_present = bool_field(L, 1, "session_present");
  p.reason = (uint8_t)integer_field(L, 1, "reason", UINT8_MAX, 0);
  p.packet_id = (uint16_t)integer_field(L, 1, "packet_id", UINT16_MAX, 0);
  p.topic = text_field(L, 1, "topic");
  p.payload = text_field(L, 1, "payload");
  p.props = props_field(L, 1, "properties");
  p.filters = filters_field(L, 1, p.type);
  p.codes = codes_field(L, 1);
  if (p.type == ROAM_CONNECT)
    get_connect_fields(L, 1, &p);
  size_t size = roam_packet_size(&p), len = 0;
  void *out = lua_newuserdata(L, size + 1);
  if (size == 0 || roam_packet_write(&p, out, size, &len) != 0) {
    lua_pushnil(L);
    lua_pushliteral(L, "ROAM_E_ARGUMENT: a field of the packet cannot be, or not in this type and version");
    lua_pushinteger(L, ROAM_E_ARGUMENT);
    return 3;
  }
  lua_pushlstring(L, out, len);
  return 1;
}
%}
%native(packet_decode) int native_packet_decode(lua_State *L);
%native(packet_encode) int native_packet_encode(lua_State *L);
%native(props_encode) int native_props_encode(lua_State *L);
%native(props_decode) int native_props_decode(lua_State *L);
#endif

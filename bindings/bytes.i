/* bytes.i - roam_bytes <-> bytes objects and strings, roam_addr <-> text, integers as integers. */

#if defined(SWIGPYTHON)

/* For the length of the call the object's own buffer is used; nothing is copied. */
%typemap(in) roam_bytes (Py_buffer view, int have = 0) {
  if ($input == Py_None) {
    $1.base = NULL;
    $1.len = 0;
  } else {
    if (PyObject_GetBuffer($input, &view, PyBUF_SIMPLE) != 0)
      SWIG_fail;
    have = 1;
    $1.base = (const uint8_t *)view.buf;
    $1.len = (size_t)view.len;
  }
}
%typemap(freearg) roam_bytes {
  if (have$argnum)
    PyBuffer_Release(&view$argnum);
}
/* A struct's member keeps pointing at the object: the package holds a reference for as long as the struct is used. */
%typemap(in) roam_bytes *bytes_member (roam_bytes tmp) {
  char *base = NULL;
  Py_ssize_t len = 0;
  if ($input != Py_None && PyBytes_AsStringAndSize($input, &base, &len) != 0)
    SWIG_fail;
  tmp.base = (const uint8_t *)base;
  tmp.len = (size_t)len;
  $1 = &tmp;
}
%apply roam_bytes *bytes_member { roam_bytes *ca, roam_bytes *certificate, roam_bytes *key, roam_bytes *more, roam_bytes *password,
                                  roam_bytes *passwords, roam_bytes *acl, roam_bytes *auth_data,
                                  roam_bytes *will_payload, roam_bytes *will_props,
                                  roam_bytes *connect_props, roam_bytes *topic, roam_bytes *payload, roam_bytes *props, roam_bytes *state,
                                  roam_bytes *secret };
%typemap(out) roam_bytes {
  $result = PyBytes_FromStringAndSize((const char *)$1.base, (Py_ssize_t)$1.len);
}
%typemap(out) roam_bytes * {
  $result = PyBytes_FromStringAndSize((const char *)$1->base, (Py_ssize_t)$1->len);
}

%{
static int addr_from_object(PyObject *object, roam_addr *out) {
  memset(out, 0, sizeof *out);
  if (object == Py_None)
    return 0;
  Py_ssize_t len = 0;
  const char *text = PyUnicode_AsUTF8AndSize(object, &len);
  if (text == NULL)
    return -1;
  if (roam_addr_parse(text, out) != 0) {
    PyErr_Format(PyExc_ValueError, "'%s' is not an address: write 127.0.0.1, 127.0.0.1:1883 or [::1]:1883", text);
    return -1;
  }
  return 0;
}
static PyObject *addr_to_object(const roam_addr *addr) {
  char text[ROAM_ADDR_TEXT_MAX];
  return PyUnicode_FromString(roam_addr_format(addr, text));
}
%}
%typemap(in) const roam_addr * (roam_addr tmp), roam_addr * (roam_addr tmp) {
  if (addr_from_object($input, &tmp) != 0)
    SWIG_fail;
  $1 = $input == Py_None ? NULL : &tmp;
}
/* Struct members cannot be NULL: None is "any". */
%typemap(in) roam_addr *local (roam_addr tmp), roam_addr *address (roam_addr tmp), roam_addr *inside (roam_addr tmp),
             roam_addr *server (roam_addr tmp), roam_addr *preferred_ipv4 (roam_addr tmp),
             roam_addr *preferred_ipv6 (roam_addr tmp) {
  if (addr_from_object($input, &tmp) != 0)
    SWIG_fail;
  $1 = &tmp;
}
%typemap(out) roam_addr { $result = addr_to_object(&$1); }
%typemap(out) roam_addr * { $result = addr_to_object($1); }

/* Figures for each direction: (out, in). */
%typemap(out) uint64_t [2] { $result = Py_BuildValue("(KK)", (unsigned long long)$1[0], (unsigned long long)$1[1]); }

#elif defined(SWIGLUA)

/* Figures for each direction: { out, in }. */
%typemap(out) uint64_t [2] {
  lua_createtable(L, 2, 0);
  for (int direction = 0; direction < 2; direction++) {
    lua_pushinteger(L, (lua_Integer)$1[direction]);
    lua_rawseti(L, -2, direction + 1);
  }
  SWIG_arg++;
}

/* Strings keep embedded NULs both ways; a number is not a string here. */
%typemap(in, checkfn="lua_isstring") roam_bytes {
  size_t len = 0;
  $1.base = (const uint8_t *)lua_tolstring(L, $input, &len);
  $1.len = len;
}
%typemap(in, checkfn="lua_isstring") roam_bytes * (roam_bytes tmp) {
  size_t len = 0;
  tmp.base = (const uint8_t *)lua_tolstring(L, $input, &len);
  tmp.len = len;
  $1 = &tmp;
}
%typemap(out) roam_bytes {
  lua_pushlstring(L, $1.base ? (const char *)$1.base : "", $1.len);
  SWIG_arg++;
}
%{
static int addr_from_stack(lua_State *L, int index, roam_addr *out) {
  memset(out, 0, sizeof *out);
  const char *text = lua_tostring(L, index);
  return text == NULL || *text == '\0' ? 0 : roam_addr_parse(text, out);
}
static void push_addr(lua_State *L, const roam_addr *addr) {
  char text[ROAM_ADDR_TEXT_MAX];
  lua_pushstring(L, roam_addr_format(addr, text));
}
%}
%typemap(in, checkfn="lua_isstring") const roam_addr * (roam_addr tmp), roam_addr * (roam_addr tmp) {
  if (addr_from_stack(L, $input, &tmp) != 0) {
    lua_pushfstring(L, "ROAM_E_ARGUMENT: '%s' is not an address", lua_tostring(L, $input));
    SWIG_fail;
  }
  $1 = &tmp;
}
%typemap(out) roam_addr { push_addr(L, &$1); SWIG_arg++; }
%typemap(out) roam_addr * { push_addr(L, $1); SWIG_arg++; }

/* Integers are integers (SWIG pushes numbers, which print as 3.0). 64-bit times wrap only after 292 years. */
%define LUA_INTEGER(T)
%typemap(out) T { lua_pushinteger(L, (lua_Integer)$1); SWIG_arg++; }
%typemap(in, checkfn="lua_isnumber") T { $1 = (T)lua_tointeger(L, $input); }
%enddef
LUA_INTEGER(int)
LUA_INTEGER(unsigned int)
LUA_INTEGER(size_t)
LUA_INTEGER(uint8_t)
LUA_INTEGER(uint16_t)
LUA_INTEGER(uint32_t)
LUA_INTEGER(uint64_t)
LUA_INTEGER(int32_t)
LUA_INTEGER(int64_t)
LUA_INTEGER(roam_time)
#endif

/* uint64_t *token: an extra return value. */
%typemap(in, numinputs=0) uint64_t *token (uint64_t tmp = 0), uint64_t *listener (uint64_t tmp = 0) { $1 = &tmp; }
#if defined(SWIGPYTHON)
%typemap(argout) uint64_t *token, uint64_t *listener {
  Py_XDECREF($result);
  $result = PyLong_FromUnsignedLongLong(*$1);
}
#elif defined(SWIGLUA)
%typemap(argout) uint64_t *token, uint64_t *listener {
  if (result == 0) {
    lua_pop(L, 1); /* the `true` of roam_rc */
    lua_pushinteger(L, (lua_Integer)*$1);
  }
}
#endif

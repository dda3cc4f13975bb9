/* errors.i - a negative return becomes an exception (Python) or `nil, message, code` (Lua); 0 becomes None or true. */

#if defined(SWIGPYTHON)
%{
/* The factory that turns (code, name, text) into an exception object; set once by the package at import. Module state, not
 * library state: the core has none. */
static PyObject *error_factory = NULL;

static void raise_code(int code) {
  if (error_factory == NULL) {
    PyErr_Format(PyExc_RuntimeError, "%s: %s", roam_error_name(code), roam_strerror(code));
    return;
  }
  PyObject *error = PyObject_CallFunction(error_factory, "iss", code, roam_error_name(code), roam_strerror(code));
  if (error == NULL)
    return;
  PyErr_SetObject((PyObject *)Py_TYPE(error), error);
  Py_DECREF(error);
}
%}
%inline %{
static PyObject *set_error_factory(PyObject *factory) {
  Py_XDECREF(error_factory);
  Py_INCREF(factory);
  error_factory = factory;
  Py_INCREF(Py_None);
  return Py_None;
}
%}
%typemap(out) roam_rc {
  if ($1 < 0) {
    raise_code($1);
    SWIG_fail;
  }
  $result = SWIG_Py_Void();
}
#elif defined(SWIGLUA)
%typemap(out) roam_rc {
  if ($1 < 0) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", roam_error_name($1), roam_strerror($1));
    lua_pushinteger(L, $1);
    SWIG_arg += 3;
  } else {
    lua_pushboolean(L, 1);
    SWIG_arg++;
  }
}
#endif

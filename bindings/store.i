/* store.i - stores: a script gives a path and how to sync, and gets an opaque handle for broker_options.store. */
%ignore roam_store_ops;
%ignore roam_store;
%ignore roam_store_open;
%ignore roam_store_memory;
%ignore roam_store_next;
%ignore roam_store_change;
%ignore roam_store_options;
%ignore roam_store_options_init;
%include <roamqtt/store.h>

#if defined(SWIGPYTHON)
%inline %{
static roam_store *make_store(const char *path, int sync) {
  char why[ROAM_STORE_WHY_MAX];
  roam_rc rc = 0;
  roam_store_options o;
  roam_store_options_init(&o);
  o.sync = (roam_store_sync)sync;
  roam_store *store = roam_store_open(path, &o, &rc, why);
  if (store == NULL)
    raise_text(rc, why, -1);
  return store;
}
%}
#endif
#if defined(SWIGLUA)
%{
static char store_why[ROAM_STORE_WHY_MAX]; /* the last failure; one thread */
%}
%inline %{
static roam_store *make_store(const char *path, int sync) {
  roam_store_options o;
  roam_store_options_init(&o);
  o.sync = (roam_store_sync)sync;
  return roam_store_open(path, &o, NULL, store_why);
}
static const char *store_error(void) { return store_why; }
%}
#endif

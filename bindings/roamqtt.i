/* roamqtt.i - one SWIG module over the public headers, for Python and Lua. Private: users see the hand-written packages. */
#if defined(SWIGPYTHON)
%module(package="roamqtt") core
#else
%module roamqtt_core
#endif

%{
#include <stdlib.h>
#include <string.h>

#include <roamqtt/roamqtt.h>
%}

%include <stdint.i>
#if defined(SWIGPYTHON)
%nothread;
%thread roam_thread_lock;
%thread roam_thread_free;
#endif

typedef int roam_rc;
typedef uint64_t roam_time;

%include "bytes.i"
%include "errors.i"

/* Text is the script's own string, never a copy; for a struct's member the package keeps it referenced while the struct is used. */
#if defined(SWIGPYTHON)
%typemap(in) const char * {
  $1 = NULL;
  if ($input != Py_None && ($1 = (char *)PyUnicode_AsUTF8AndSize($input, NULL)) == NULL)
    SWIG_fail;
}
%typemap(freearg) const char * ""
#endif
%typemap(memberin) const char * { $1 = (char *)$input; }
%warnfilter(314, 451);

%rename("%(strip:[roam_])s", %$not %$ismember) "";
%rename("%(strip:[ROAM_])s", %$isenumitem) "";
%rename("%(strip:[ROAM_])s", %$isconstant) "";

/* What only C needs: the verbs, the blobs, the codec's raw structs, simulated worlds and the load machine. */
%rename("$ignore", regextarget=1, fullname=1) "roam_(blob|addr|wire|machine|log|parcel|hop|delay|queue|loss|nat|props|message|session|reader|packet|filter|slice|fault|publish_how|bytes|te|world|host|load|hist|record|recorder|field|json|identity|client_message|publish_how)(_[a-z0-9_]*)?$";
%rename("$ignore", regextarget=1, fullname=1) "roam_(client|broker)_(feed|tick|drain|poll|deadline|machine|new)$";
%rename("$ignore", regextarget=1, fullname=1) "roam_client_(publish|subscribe|subscribe_how|subscribe_how_to|unsubscribe)$";
%rename("$ignore", regextarget=1, fullname=1) "roam_(loop)_(add|remove|add_fd|remove_fd)$";
%rename("$ignore", regextarget=1, fullname=1) "roam_(random_system|thread_take|thread_add|thread_remove|relay_new|relay_machine|broker_clients|broker_history|broker_client|url_parse)$";

/* Files of users and access lists are given whole, and explained by access_error; broker.i has these two commands' other faces. */
%rename("$ignore", regextarget=1, fullname=1) "^roam_(access_fault|admission|broker_admit|password_make|passwords_check|acl_check)(::.*)?$";
%rename("$ignore", regextarget=1, fullname=1) "^roam_broker_set_certificate$";
#if defined(SWIGLUA)
%ignore roam_broker_listen_name;
#endif
%constant uint32_t LANE_CONTROL = ROAM_LANE_CONTROL;
%constant int FILTERING_ENDPOINT_INDEPENDENT = ROAM_NAT_ENDPOINT_INDEPENDENT;
%constant int FILTERING_ADDRESS_DEPENDENT = ROAM_NAT_ADDRESS_DEPENDENT;
%constant int FILTERING_ADDRESS_AND_PORT_DEPENDENT = ROAM_NAT_ADDRESS_AND_PORT_DEPENDENT;
%rename("$ignore", regextarget=1, fullname=1) "^ROAM_(PASSWORD|BIND|STEER)_.*";
%typemap(in, numinputs=0) roam_access_fault *fault { $1 = NULL; }

%rename("$ignore", regextarget=1, fullname=1) "^roam_prop(_next|_find|_name)?$";
%rename("$ignore", regextarget=1, fullname=1) "^roam_event(_link|_message|_ack|_path|_rate|_auth|_lane|_u)?$";
%rename("$ignore", regextarget=1, fullname=1) "^roam_event::.*";

%ignore roam_past;
#if defined(SWIGPYTHON)
/* Constructors of ours that raise instead of returning NULL. */
%define RAISES(name)
%exception name {
  $action
  if (PyErr_Occurred())
    SWIG_fail;
}
%enddef
RAISES(make_client)
RAISES(make_broker)
RAISES(make_relay)
RAISES(make_store)
#endif

%define OPTIONS(name)
%extend name {
  name() {
    name *o = calloc(1, sizeof *o);
    if (o != NULL)
      name ## _init(o);
    return o;
  }
  ~name() { free($self); }
}
%ignore name ## _init;
%immutable name::size;
%enddef
OPTIONS(roam_client_options)
OPTIONS(roam_broker_options)
OPTIONS(roam_relay_options)
OPTIONS(roam_thread_options)
OPTIONS(roam_loop_options)
%ignore ROAM_LOG_FIELDS_MAX;
%ignore roam_client_options::log;
%ignore roam_client_options::tap;
%ignore roam_broker_options::tap;
%ignore roam_tap;
%ignore roam_congestion_parse;
%ignore roam_broker_options::log;
%ignore roam_relay_options::log;
%ignore roam_loop_options::log;
/* One broker of several workers is C's affair: a script's broker has a thread, and is one. */
%ignore roam_broker_options::workers;
%ignore roam_broker_options::worker;
%ignore roam_broker_options::encrypt_ids;
%ignore roam_broker_mail_drop;
%ignore roam_broker_secret;
%ignore roam_broker_stats_add;
%ignore roam_thread_options::loop;
%ignore roam_thread_seat;
%ignore roam_loop_seat;
%ignore roam_host_seat;
%ignore roam_host_mail_latency;
%ignore roam_post;
%ignore roam_post_new;
%ignore roam_post_free;
%ignore roam_session_regate;

%include <roamqtt/base.h>
%include <roamqtt/event.h>
%include <roamqtt/wire.h>
%include <roamqtt/mqtt.h>
%include <roamqtt/tls.h>
%include <roamqtt/auth.h>
%include <roamqtt/tap.h>
%include <roamqtt/client.h>
%include <roamqtt/broker.h>
%include <roamqtt/loop.h>
%include <roamqtt/hop.h>

const char *roam_version(void);

%include "events.i"
%include "codec.i"
%include "store.i"
%include "broker.i"
%include "sinks.i"
%include "files.i"

#if defined(SWIGPYTHON)
%inline %{
static roam_rc thread_add_client(roam_thread *t, roam_client *c, uint64_t tag) { return roam_thread_add(t, roam_client_machine(c), tag); }
static roam_rc thread_add_broker(roam_thread *t, roam_broker *b, uint64_t tag) { return roam_thread_add(t, roam_broker_machine(b), tag); }
static roam_rc thread_add_relay(roam_thread *t, roam_relay *r, uint64_t tag) { return roam_thread_add(t, roam_relay_machine(r), tag); }
static roam_rc thread_remove_client(roam_thread *t, roam_client *c) { return roam_thread_remove(t, roam_client_machine(c)); }
static roam_rc thread_remove_broker(roam_thread *t, roam_broker *b) { return roam_thread_remove(t, roam_broker_machine(b)); }
static roam_rc thread_remove_relay(roam_thread *t, roam_relay *r) { return roam_thread_remove(t, roam_relay_machine(r)); }
%}
#endif

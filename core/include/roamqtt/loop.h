/* loop.h - runs machines on real sockets: epoll, timerfd and eventfd behind one pollable descriptor.
 *
 * A loop belongs to one thread. Two ways to use it: call roam_loop_step() yourself (C, Lua), or let roam_thread_new() run
 * it on a thread of its own and take events from a bounded ring (Python). Names are resolved on a helper thread. */
#ifndef ROAMQTT_LOOP_H
#define ROAMQTT_LOOP_H

#include <roamqtt/event.h>
#include <roamqtt/wire.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes from the operating system's generator; safe from any thread; never freed. */
ROAM_API roam_random *roam_random_system(void);
/* Seconds since 1970 by the machine's wall clock, for the wall_unix_s options. */
ROAM_API int64_t roam_wall_unix_s(void);

typedef struct roam_loop roam_loop;

typedef struct roam_loop_options {
  size_t size;
  uint32_t machines_max;        /* 64 */
  uint32_t sockets_max;         /* 65536 */
  size_t datagram_batch;        /* 64: units per recvmmsg and sendmmsg */
  uint32_t socket_buffer_bytes; /* 4194304: SO_RCVBUF and SO_SNDBUF of UDP sockets, as far as the kernel allows */
  bool gso, gro;                /* true; switched off by itself when the kernel refuses */
  roam_log log;
  bool watch_networks; /* true: machines are told of this machine's addresses and of every change (netlink) */
  uint32_t unix_mode;  /* 0660: permissions of the Unix sockets that machines listen on */
} roam_loop_options;

ROAM_API void roam_loop_options_init(roam_loop_options *o);
ROAM_API roam_loop *roam_loop_new(const roam_loop_options *o); /* NULL: see errno */
ROAM_API void roam_loop_free(roam_loop *loop);                 /* closes all sockets; machines belong to their owners */
/* Readable when roam_loop_step(loop, 0) has something to do; for a host's own poll. */
ROAM_API int roam_loop_fd(const roam_loop *loop);
ROAM_API roam_time roam_loop_now(const roam_loop *loop); /* CLOCK_BOOTTIME, read anew */
/* How long a host may sleep before it must call step: ns, 0 = at once, ROAM_NEVER. The descriptor wakes it too. */
ROAM_API uint64_t roam_loop_timeout(const roam_loop *loop);

typedef void (*roam_loop_sink)(void *context, const roam_event ev[], size_t n);
/* Drives a machine until it is removed. Its events go to sink (which may give commands to any machine of this loop, but not
 * remove one); with sink NULL the owner polls after each step. ROAM_E_ARGUMENT: its random source is a simulated one.
 * ROAM_E_LIMIT: machines_max. */
ROAM_API roam_rc roam_loop_add(roam_loop *loop, roam_machine machine, roam_loop_sink sink, void *context);
/* Closes the machine's sockets (after a last drain) and forgets it. */
ROAM_API roam_rc roam_loop_remove(roam_loop *loop, roam_machine machine);
/* One turn: wait at most max_wait_ns for something, then feed, tick, drain and poll whoever is due. Commands given since
 * the last step are drained first. Returns 1 when anything happened, 0 when not, or ROAM_E_IO. */
ROAM_API int roam_loop_step(roam_loop *loop, uint64_t max_wait_ns);
/* Ends a wait in roam_loop_step from any thread or a signal handler. */
ROAM_API void roam_loop_wake(roam_loop *loop);

/* Foreign descriptors: somebody else's poll set inside this loop. fn is called when fd is readable or the time has come
 * and returns the next time it wants to be called (ROAM_NEVER = only on fd). It is called once at first, to learn that
 * time. It may give commands to machines and remove them, and remove itself. */
typedef roam_time (*roam_loop_foreign)(void *context, roam_time now);
ROAM_API roam_rc roam_loop_add_fd(roam_loop *loop, int fd, roam_loop_foreign fn, void *context);
ROAM_API roam_rc roam_loop_remove_fd(roam_loop *loop, int fd);

/* A post office: MAIL units between machines in loops of different threads (wire.h). Seats are numbered from 0; a unit's
 * handle is the seat it is for, and of the one it comes from. drop: what a unit that is never fed holds is given back;
 * NULL: nothing. Free it when its loops are gone. */
typedef struct roam_post roam_post;
ROAM_API roam_post *roam_post_new(uint32_t seats, void (*drop)(const uint8_t *data, size_t len)); /* NULL: no memory */
ROAM_API void roam_post_free(roam_post *post);
/* Gives a machine that this loop drives its seat, for good; machines with the same store share its writer from then on.
 * ROAM_E_NOT_FOUND, ROAM_E_ARGUMENT, ROAM_E_STATE: it has one; ROAM_E_MEMORY: remove it. */
ROAM_API roam_rc roam_loop_seat(roam_loop *loop, roam_machine machine, roam_post *post, uint32_t seat);

typedef struct roam_loop_stats {
  uint64_t turns, recv_calls, send_calls, datagrams_in, datagrams_out, bytes_in, bytes_out;
  bool gso, gro; /* in use now */
} roam_loop_stats;
ROAM_API roam_loop_stats roam_loop_get_stats(const roam_loop *loop);

/* ---- a loop on its own thread ---------------------------------------------------------------------------------------- */

typedef struct roam_thread roam_thread;

typedef struct roam_thread_options {
  size_t size;
  uint32_t ring_events;          /* 65536: events that may wait in the ring */
  size_t ring_bytes;             /* 64 MiB: bytes they may hold */
  const roam_loop_options *loop; /* NULL: the defaults; read by roam_thread_new */
} roam_thread_options;

ROAM_API void roam_thread_options_init(roam_thread_options *o);
/* Starts a thread that runs a new loop. NULL: see errno. */
ROAM_API roam_thread *roam_thread_new(const roam_thread_options *o);
/* Stops and joins the thread, closes all sockets, drops what is in the ring. Machines belong to their owners, and may be
 * freed after this returns. */
ROAM_API void roam_thread_free(roam_thread *thread);
/* An eventfd: readable when events wait. It is signalled on empty -> non-empty only; drain until roam_thread_take gives 0.
 */
ROAM_API int roam_thread_fd(const roam_thread *thread);
/* Every call on a machine that the thread drives stands between these two; unlock wakes the loop so that what the commands
 * started goes out. now = roam_thread_lock(t). Never held while waiting. */
ROAM_API roam_time roam_thread_lock(roam_thread *thread);
ROAM_API void roam_thread_unlock(roam_thread *thread);
/* Under the lock. Events of the machine go into the ring, deep copied, with `tag` so that the reader knows whose they are.
 * When the ring is full the machine is not polled, so its own back-pressure begins. */
ROAM_API roam_rc roam_thread_add(roam_thread *thread, roam_machine machine, uint64_t tag);
/* Under the lock: a machine's seat at a post office. */
ROAM_API roam_rc roam_thread_seat(roam_thread *thread, roam_machine machine, roam_post *post, uint32_t seat);
ROAM_API roam_rc roam_thread_remove(roam_thread *thread, roam_machine machine);
/* The next event into *ev and *tag (pointers inside live until the next take); 1, or 0 when the ring is empty. */
ROAM_API int roam_thread_take(roam_thread *thread, roam_event *ev, uint64_t *tag);

#ifdef __cplusplus
}
#endif
#endif

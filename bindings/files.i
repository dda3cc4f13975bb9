/* files.i - what of files Lua cannot do by itself: write one that only its owner may read, and know descriptors. Python can. */
#if defined(SWIGLUA)
%{
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static bool write_all(int fd, roam_bytes bytes) {
  while (bytes.len > 0) {
    ssize_t n = write(fd, bytes.base, bytes.len);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    bytes.base += n;
    bytes.len -= (size_t)n;
  }
  return true;
}

/* write_private(path, bytes) -> true; nil, message, code. Whole or not at all, mode 0600. */
static int native_write_private(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  roam_bytes bytes = bytes_at(L, 2);
  const char *beside = lua_pushfstring(L, "%s.new", path);
  int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  bool good = fd >= 0 && fchmod(fd, 0600) == 0 && write_all(fd, bytes);
  int error = good ? 0 : errno;
  if (fd >= 0 && close(fd) != 0 && error == 0)
    error = errno;
  if (error == 0 && rename(beside, path) != 0)
    error = errno;
  if (error == 0) {
    lua_pushboolean(L, 1);
    return 1;
  }
  if (fd >= 0)
    unlink(beside);
  lua_pushnil(L);
  lua_pushfstring(L, "ROAM_E_IO: %s: %s", path, strerror(error));
  lua_pushinteger(L, ROAM_E_IO);
  return 3;
}

/* folder_descriptor(path) -> a number for close_descriptor; nil, message, code. The folder is made when it is not there. */
static int native_folder_descriptor(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  int fd = mkdir(path, 0700) == 0 || errno == EEXIST ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (fd < 0) {
    lua_pushnil(L);
    lua_pushfstring(L, "ROAM_E_IO: %s: %s", path, strerror(errno));
    lua_pushinteger(L, ROAM_E_IO);
    return 3;
  }
  lua_pushinteger(L, fd);
  return 1;
}

static int native_close_descriptor(lua_State *L) {
  close((int)luaL_checkinteger(L, 1));
  return 0;
}

/* file_descriptor(file) -> the number behind an open file of Lua's io library (FILE * comes first in each version's struct) */
static int native_file_descriptor(lua_State *L) {
  FILE **file = luaL_checkudata(L, 1, "FILE*");
  if (*file == NULL)
    luaL_error(L, "ROAM_E_ARGUMENT: the file is closed");
  lua_pushinteger(L, fileno(*file));
  return 1;
}
%}
%native(write_private) int native_write_private(lua_State *L);
%native(folder_descriptor) int native_folder_descriptor(lua_State *L);
%native(close_descriptor) int native_close_descriptor(lua_State *L);
%native(file_descriptor) int native_file_descriptor(lua_State *L);
#endif

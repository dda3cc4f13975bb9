# Finds what the core stands on and, when something is missing, says so once with the command that installs it.
find_package(PkgConfig REQUIRED)
set(ROAM_MISSING "")

function(roam_need target spec package)
  pkg_check_modules(${target} QUIET IMPORTED_TARGET ${spec})
  if(NOT ${target}_FOUND)
    set(ROAM_MISSING ${ROAM_MISSING} ${package} PARENT_SCOPE)
  endif()
endfunction()

roam_need(NGTCP2 "libngtcp2>=1.11" libngtcp2-dev)
roam_need(NGTCP2_GNUTLS "libngtcp2_crypto_gnutls>=1.11" libngtcp2-crypto-gnutls-dev)
roam_need(GNUTLS "gnutls>=3.7.9" libgnutls28-dev)
roam_need(CBOR "libcbor>=0.8" libcbor-dev)
if(ROAM_TOOLS)
  roam_need(CAIRO "cairo>=1.16" libcairo2-dev)
endif()
if(ROAM_TESTS)
  roam_need(CMOCKA "cmocka>=1.1.5" libcmocka-dev)
endif()
if(ROAM_PYTHON OR ROAM_LUA)
  find_program(SWIG_EXECUTABLE NAMES swig4.0 swig)
  if(NOT SWIG_EXECUTABLE)
    list(APPEND ROAM_MISSING swig)
  endif()
endif()
if(ROAM_LUA)
  roam_need(LUA "${ROAM_LUA_PKG}" lib${ROAM_LUA_PKG}-dev)
endif()
find_package(Threads REQUIRED)

if(ROAM_MISSING)
  list(JOIN ROAM_MISSING " " ROAM_MISSING_TEXT)
  message(FATAL_ERROR "roamqtt needs: ${ROAM_MISSING_TEXT}\n"
    "Install with:  apt-get install ${ROAM_MISSING_TEXT}\n"
    "On Debian 12 ngtcp2 comes from bookworm-backports: apt-get install -t bookworm-backports libngtcp2-dev libngtcp2-crypto-gnutls-dev\n"
    "or let ./dev do all of it.")
endif()

/* SPDX-License-Identifier: BSD-3-Clause */
/** Whole messages over a local socket. */
#include "line.h"

#include <errno.h>
#include <sys/socket.h>

enum { SOME = 1 << 20 };

bool h5_line_send(int line, const void *bytes, size_t n)
{
  for (const char *from = bytes; n;) {
    const ssize_t done = send(line, from, n < SOME ? n : SOME, MSG_NOSIGNAL);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    from += done;
    n -= (size_t)done;
  }
  return true;
}

bool h5_line_receive(int line, void *bytes, size_t n)
{
  for (char *to = bytes; n;) {
    const ssize_t done = recv(line, to, n, 0);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    syz_pulse(); /* the reader makes progress, and so does this rank */
    to += done;
    n -= (size_t)done;
  }
  return true;
}

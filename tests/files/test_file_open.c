/* SPDX-License-Identifier: BSD-3-Clause */
/** Input from outside must be a regular file: what else lies under a name is refused by its kind, and nobody waits for
 * a FIFO's other end. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "syzygy/files.h"

static void refuse(const char *path, const char *reason)
{
  int fd = 0;
  int64_t bytes;
  CHECK_ERROR(syz_file_open_input(path, &fd, &bytes), SYZ_ERR_DATA, reason);
  CHECK(strstr(syz_error_text(), path));
  CHECK_EQ(fd, -1);
}

int main(void)
{
  char folder[] = "/tmp/syzygy-test-XXXXXX", path[256], *text = NULL;
  int fd = -1;
  int64_t bytes = 0;
  size_t n;
  alarm(20); /* a hang is a failure, not a wait */
  CHECK(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/file", folder);
  CHECK_OK(syz_file_write(path, "twelve bytes", 12));
  CHECK_OK(syz_file_open_input(path, &fd, &bytes));
  CHECK(fd >= 0 && bytes == 12);
  close(fd);
  unlink(path);
  refuse(path, "No such file");
  refuse(folder, "a folder");
  refuse("/dev/zero", "a device");
  CHECK(mkfifo(path, 0600) == 0);
  refuse(path, "a FIFO");
  CHECK_ERROR(syz_file_read(path, 100, &text, &n), SYZ_ERR_DATA, "a FIFO");
  unlink(path);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, path, strlen(path) + 1);
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(listener >= 0 && bind(listener, (const struct sockaddr *)&address, sizeof address) == 0);
  refuse(path, "a socket");
  close(listener);
  unlink(path);
  rmdir(folder);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}

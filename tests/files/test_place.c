/* SPDX-License-Identifier: BSD-3-Clause */
/** Nothing is written, replaced or removed through a symbolic link; what a link points to stays as it is; a FIFO is
 * refused without waiting. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "syzygy/files.h"

static char base[] = "/tmp/syzygy-test-XXXXXX";
static char path_room[4][512];

static const char *at(int i, const char *name)
{
  snprintf(path_room[i], sizeof path_room[i], "%s/%s", base, name);
  return path_room[i];
}

static bool holds(const char *name, const char *content)
{
  char *text = NULL;
  size_t n;
  const bool is_same = syz_file_read(at(3, name), 1000, &text, &n) == SYZ_OK && strcmp(text, content) == 0;
  syz_free(&text);
  return is_same;
}

static void link_to(const char *target, const char *name) { CHECK(symlink(at(2, target), at(3, name)) == 0); }

static void test_files(void)
{
  int fd = 7;
  CHECK_OK(syz_file_write(at(0, "victim"), "precious", 8));
  link_to("victim", "link");
  CHECK_ERROR(syz_file_open(at(0, "link"), O_WRONLY | O_CREAT | O_TRUNC, &fd), SYZ_ERR_WRITE,
              "/link is a symbolic link (to ");
  CHECK_EQ(fd, -1);
  CHECK_ERROR(syz_refuse_link(at(0, "link")), SYZ_ERR_WRITE, "symbolic link");
  CHECK_OK(syz_refuse_link(at(0, "victim")));
  CHECK_OK(syz_refuse_link(at(0, "absent")));
  CHECK_ERROR(syz_file_write(at(0, "link"), "new", 3), SYZ_ERR_WRITE, "/link is a symbolic link");
  link_to("victim", "file.tmp");
  CHECK_ERROR(syz_file_write(at(0, "file"), "new", 3), SYZ_ERR_WRITE, "/file.tmp is a symbolic link");
  CHECK(access(at(0, "file"), F_OK) != 0 && holds("victim", "precious"));
  CHECK_OK(syz_file_write(at(0, "made"), "new", 3));
  CHECK_ERROR(syz_file_publish(at(0, "made"), at(1, "link")), SYZ_ERR_WRITE, "symbolic link");
  CHECK_ERROR(syz_file_publish(at(0, "link"), at(1, "made")), SYZ_ERR_WRITE, "symbolic link");
  CHECK(holds("victim", "precious") && holds("made", "new"));
  CHECK(mkfifo(at(0, "fifo"), 0600) == 0);
  CHECK_ERROR(syz_file_open(at(0, "fifo"), O_WRONLY, &fd), SYZ_ERR_WRITE, "not a regular file");
  CHECK_ERROR(syz_file_open(at(0, "fifo"), O_RDWR, &fd), SYZ_ERR_WRITE, "not a regular file");
  CHECK_OK(syz_file_open(at(0, "fresh"), O_WRONLY | O_CREAT | O_APPEND, &fd));
  CHECK(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0 && holds("fresh", "x"));
}

static void test_folders(void)
{
  CHECK_OK(syz_make_folder(at(0, "elsewhere")));
  CHECK_OK(syz_file_write(at(0, "elsewhere/manifest.json"), "theirs", 6));
  CHECK_OK(syz_file_write(at(0, "elsewhere/state.h5"), "theirs", 6));
  CHECK_OK(syz_make_folder(at(0, "runs")));
  link_to("runs", "run"); /* the user's own link */
  CHECK_OK(syz_make_own_folder(at(0, "run"), "checkpoints/step"));
  CHECK(access(at(0, "runs/checkpoints/step"), F_OK) == 0);
  CHECK_OK(syz_make_own_folder(at(0, "run"), "checkpoints/step"));
  link_to("elsewhere", "runs/shards");
  CHECK_ERROR(syz_make_own_folder(at(0, "run"), "shards"), SYZ_ERR_WRITE, "/run/shards is a symbolic link");
  CHECK_ERROR(syz_make_own_folder(at(0, "run"), "shards/below"), SYZ_ERR_WRITE, "/run/shards is a symbolic link");
  CHECK(access(at(0, "elsewhere/below"), F_OK) != 0);
  CHECK_OK(syz_file_write(at(0, "run/file"), "x", 1));
  CHECK_ERROR(syz_make_own_folder(at(0, "run"), "file"), SYZ_ERR_WRITE, "/run/file: cannot make the folder");

  CHECK_ERROR(syz_remove_folder(at(0, "run/shards"), "manifest.json"), SYZ_ERR_WRITE, "/run/shards is a symbolic link");
  CHECK(holds("elsewhere/manifest.json", "theirs") && holds("elsewhere/state.h5", "theirs"));
  link_to("elsewhere/state.h5", "runs/checkpoints/step/state.h5");
  CHECK_OK(syz_file_write(at(0, "run/checkpoints/step/manifest.json"), "ours", 4));
  CHECK_OK(
      syz_remove_folder(at(0, "run/checkpoints/step"), "manifest.json")); /* the name goes, not what it points to */
  CHECK(access(at(0, "run/checkpoints/step"), F_OK) != 0 && holds("elsewhere/state.h5", "theirs"));
  CHECK_OK(syz_remove_folder(at(0, "run/checkpoints/step"), "manifest.json"));
  CHECK_OK(syz_make_folder(at(0, "run/checkpoints/deep/er")));
  CHECK_ERROR(syz_remove_folder(at(0, "run/checkpoints/deep"), "manifest.json"), SYZ_ERR_WRITE,
              "deep/er: cannot remove");
}

/* The digest of a file is the same in any number of shares, and another one after any change. */
static void test_sum(void)
{
  enum { N = 3 * (1 << 20) + 12345 };
  unsigned char *bytes = syz_alloc("test", N, 1);
  int64_t size = 0;
  uint64_t whole = 0, again = 0;
  for (size_t i = 0; i < N; i++) bytes[i] = (unsigned char)(i * 2654435761u >> 13);
  CHECK_OK(syz_file_write(at(0, "large"), (const char *)bytes, N));
  CHECK_OK(syz_file_sum(at(0, "large"), 0, 1, &size, &whole));
  CHECK_EQ(size, N);
  for (int parts = 2; parts < 9; parts++) {
    uint64_t sum = 0, one;
    for (int p = 0; p < parts; p++) {
      CHECK_OK(syz_file_sum(at(0, "large"), p, parts, &size, &one));
      sum += one;
    }
    CHECK(sum == whole);
  }
  for (size_t i = 0; i < N; i += N / 7) {
    bytes[i] ^= 1;
    CHECK_OK(syz_file_write(at(0, "large"), (const char *)bytes, N));
    bytes[i] ^= 1;
    CHECK_OK(syz_file_sum(at(0, "large"), 0, 1, &size, &again));
    CHECK(again != whole);
  }
  CHECK_ERROR(syz_file_sum(at(0, "absent"), 0, 1, &size, &again), SYZ_ERR_DATA, "No such file");
  CHECK_ERROR(syz_file_sum(at(0, "fifo"), 0, 1, &size, &again), SYZ_ERR_DATA, "not a regular file");
  syz_free(&bytes);
}

int main(void)
{
  char command[300];
  CHECK(mkdtemp(base));
  test_files();
  test_folders();
  test_sum();
  snprintf(command, sizeof command, "rm -r %s", base);
  CHECK(system(command) == 0);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}

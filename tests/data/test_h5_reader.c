/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The process that reads an HDF5 file: what it has left, what becomes of the rank when it crashes, is killed, finds no
 * end, lacks memory or is only slow.
 */
#define _GNU_SOURCE /* anonymous mappings, prlimit */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "check.h"
#include "fixture.h"
#include "scratch.h"
#include "syzygy/h5.h"

static char folder[SCRATCH], path[SCRATCH + 20];

static void pause_ms(long ms)
{
  const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&t, NULL);
}

/* The newest child of a process, 0: none; how many it has. */
static pid_t last_of_children(pid_t of, int *n)
{
  char name[80];
  int pid = 0;
  snprintf(name, sizeof name, "/proc/%d/task/%d/children", (int)of, (int)of);
  FILE *f = fopen(name, "r");
  for (*n = 0; f && fscanf(f, "%d", &pid) == 1; ++*n) continue;
  if (f) fclose(f);
  return (pid_t)pid;
}

static pid_t last_child(pid_t of) { return last_of_children(of, &(int){0}); }

static pid_t reader(void) { return last_child(last_child(getpid())); }

/* Lines of /proc/<pid>/<what> that hold all of these words; "" is in every line. */
static int lines_with(pid_t pid, const char *what, const char *a, const char *b)
{
  char name[80], line[1024];
  int n = 0;
  snprintf(name, sizeof name, "/proc/%d/%s", (int)pid, what);
  FILE *f = fopen(name, "r");
  while (f && fgets(line, sizeof line, f)) n += strstr(line, a) && strstr(line, b);
  if (f) fclose(f);
  return n;
}

static void test_what_it_has(void)
{
  syz_h5 *f = NULL;
  char name[80];
  CHECK_OK(syz_h5_open(NULL, path, &f));
  const pid_t pid = reader();
  CHECK(pid > 0 && lines_with(pid, "maps", "", "") > 10);
  CHECK_GT(lines_with(getpid(), "maps", "rw-s", ""), 0); /* planted in main before the first opening */
  CHECK_EQ(lines_with(pid, "maps", "rw-s", ""), 0);
  CHECK_EQ(lines_with(last_child(getpid()), "maps", "rw-s", ""), 0);
  snprintf(name, sizeof name, "/proc/%d/fd", (int)pid);
  CHECK_EQ(scratch_count(name, ""), 6); /* 0, 1, 2 nowhere; the file, the line, how much memory it has */
  CHECK_EQ(lines_with(pid, "limits", "Max core file size", " 0  "), 1);
  CHECK_EQ(lines_with(pid, "limits", "Max address space", "unlimited            unlimited"), 0);
  if (lines_with(pid, "status", "Seccomp:\t2", "") == 0) fprintf(stderr, "no seccomp on this platform\n");
  syz_h5_close(&f);
}

/* What has been learned of a dataset stays; the next question says why there is no answer, and so do all after it. */
static void expect_lost(syz_h5 *f, syz_status status, const char *why)
{
  int64_t id = 0;
  double number;
  bool has;
  char *text = NULL;
  CHECK_OK(syz_h5_read(f, "object_id", SYZ_H5_I64, 0, 1, &id));
  CHECK_EQ(id, 39000000000000000);
  CHECK_ERROR(syz_h5_read_number(f, "", "format_version", &number, &has), status, why);
  CHECK(strstr(syz_error_text(), path));
  CHECK(syz_h5_has(f, "image")); /* it cannot be told: reading must be what fails */
  CHECK_ERROR(syz_h5_verify(f, "image", &has), status, why);
  CHECK_ERROR(syz_h5_read_text(f, "", "input", &text), status, why);
}

static void test_ends(void)
{
  const struct {
    int signal, times;
    syz_status status;
    const char *why;
  } end[] = {{SIGSEGV, 1, SYZ_ERR_DATA, "damaged: the HDF5 library crashes on it (signal 11)"},
             {SIGABRT, 1, SYZ_ERR_DATA, "damaged: the HDF5 library crashes on it (signal 6)"},
             {SIGPROF, 400, SYZ_ERR_DATA,
              "damaged: the HDF5 library finds no end in it"}, /* the ticks of its own processor time */
             {SIGKILL, 1, SYZ_ERR_MEMORY, "ended by the system: out of memory, or killed by hand"}};
  for (size_t i = 0; i < sizeof end / sizeof *end; i++) {
    syz_h5 *f = NULL;
    int ndim;
    int64_t shape[8];
    CHECK_OK(syz_h5_open(NULL, path, &f));
    CHECK_OK(syz_h5_shape(f, "object_id", &ndim, shape));
    const pid_t pid = reader();
    pause_ms(100); /* until it has done with its answer */
    for (int k = 0; k < end[i].times && kill(pid, end[i].signal) == 0; k++) pause_ms(1);
    expect_lost(f, end[i].status, end[i].why);
    syz_h5_close(&f);
  }
}

/* Time that passes while it cannot run, as it does while it waits for a slow file system, is not held against the file.
 */
static void test_slow(void)
{
  enum { STOPPED_MS = 2500 }; /* its patience is 1 s of processor time */
  syz_h5 *f = NULL;
  int ndim;
  int64_t shape[8];
  CHECK_OK(syz_h5_open(NULL, path, &f));
  const pid_t pid = reader();
  CHECK(kill(pid, SIGSTOP) == 0);
  const pid_t helper = fork();
  if (helper == 0) {
    pause_ms(STOPPED_MS);
    _exit(kill(pid, SIGCONT) == 0 ? 0 : 1);
  }
  const double start_s = syz_clock_s();
  CHECK_OK(syz_h5_shape(f, "image", &ndim, shape));
  CHECK_GT(syz_clock_s() - start_s, 1e-3 * STOPPED_MS - 0.2);
  int status = -1;
  CHECK(waitpid(helper, &status, 0) == helper && status == 0);
  syz_h5_close(&f);
}

/* Bytes of address space that a process has. */
static inline int64_t mapped(pid_t pid)
{
  char name[80];
  long long pages = 0;
  snprintf(name, sizeof name, "/proc/%d/statm", (int)pid);
  FILE *f = fopen(name, "r");
  if (!f || fscanf(f, "%lld", &pages) != 1) pages = 0;
  if (f) fclose(f);
  return pages * sysconf(_SC_PAGESIZE);
}

/* A sound file that needs more memory than the user's limit leaves: said as such, and read when there is more. A crash
 * is then no evidence either. */
static inline void test_memory(void)
{
  enum { FLOATS = 20 << 20 }; /* in one compressed chunk: 80 MiB, while the rows that are sent take as much */
  char large[SCRATCH + 20];
  syz_h5 *f = NULL;
  const int64_t shape[1] = {FLOATS};
  float *x = syz_alloc("row", FLOATS, sizeof *x);
  snprintf(large, sizeof large, "%s/large.h5", folder);
  syz_h5_configure(&(syz_h5_settings){.alignment = 4096, .compression_level = 1});
  CHECK(x);
  CHECK_OK(syz_h5_create(NULL, large, "test", "", "", &f));
  CHECK_OK(syz_h5_write(f, "x", SYZ_H5_F32, 1, 1, shape, 0, 1, x, "", ""));
  CHECK_OK(syz_h5_publish(&f));
  CHECK_OK(syz_h5_open(NULL, large, &f));
  CHECK_OK(syz_h5_read(f, "x", SYZ_H5_F32, 0, 1, x));
  syz_h5_close(&f);

  struct rlimit before, little;
  const pid_t starter = last_child(getpid());
  CHECK(prlimit(starter, RLIMIT_AS, NULL, &before) == 0);
  little = (struct rlimit){(rlim_t)mapped(starter) + (130 << 20), before.rlim_max};
  CHECK(mapped(starter) > 0 && prlimit(starter, RLIMIT_AS, &little, NULL) == 0);
  CHECK_OK(syz_h5_open(NULL, large, &f));
  CHECK_ERROR(syz_h5_read(f, "x", SYZ_H5_F32, 0, 1, x), SYZ_ERR_MEMORY,
              "large.h5: dataset x, rows 0 .. 0 cannot be read as float32: out of memory");
  CHECK(strstr(syz_error_text(), "ulimit -v") && !strstr(syz_error_text(), "damaged"));
  pause_ms(100);
  CHECK(kill(reader(), SIGSEGV) == 0);
  CHECK_ERROR(syz_h5_read(f, "x", SYZ_H5_F32, 0, 1, x), SYZ_ERR_MEMORY,
              "crashes on it (signal 11): damaged, or out of memory, which ulimit -v limits here");
  syz_h5_close(&f);
  CHECK(prlimit(starter, RLIMIT_AS, &before, NULL) == 0);
  CHECK_OK(syz_h5_open(NULL, large, &f));
  CHECK_OK(syz_h5_read(f, "x", SYZ_H5_F32, 0, 1, x));
  syz_h5_close(&f);
  syz_free(&x);
}

/* Files opened and closed, again and again and many at a time, and files that cannot be opened: nothing of them stays.
 */
static void test_many(void)
{
  enum { TIMES = 40, AT_ONCE = 40 };
  char bad[SCRATCH + 20], name[80];
  size_t n = 0;
  syz_h5 *f[AT_ONCE] = {NULL};
  unsigned char *bytes = scratch_read(path, &n);
  snprintf(bad, sizeof bad, "%s/bad.h5", folder);
  scratch_write(bad, bytes, n / 2);
  free(bytes);
  snprintf(name, sizeof name, "/proc/%d/fd", (int)getpid());
  const int descriptors = scratch_count(name, "");
  const int64_t blocks = syz_memory_get().live_blocks;
  for (int k = 0; k < TIMES; k++) {
    CHECK_OK(syz_h5_open(NULL, path, &f[0]));
    syz_h5_close(&f[0]);
    CHECK_ERROR(syz_h5_open(NULL, bad, &f[0]), SYZ_ERR_DATA, "bad.h5");
    CHECK_ERROR(syz_h5_open(NULL, "/nowhere.h5", &f[0]), SYZ_ERR_DATA, "nowhere.h5");
  }
  for (int k = 0; k < AT_ONCE; k++) CHECK_OK(syz_h5_open(NULL, path, &f[k]));
  for (int k = 0; k < AT_ONCE; k++) syz_h5_close(&f[k]);
  for (int k = 0; k < 1000 && scratch_count(name, "") > descriptors; k++) pause_ms(10);
  CHECK_EQ(scratch_count(name, ""), descriptors);
  CHECK_EQ(syz_memory_get().live_blocks, blocks);
  int readers = 0;
  for (int k = 0; k < 1000 && readers != 1; k++) { /* those that have ended are cleared away when the next one begins */
    CHECK_OK(syz_h5_open(NULL, path, &f[0]));
    CHECK(syz_h5_has(f[0], "image"));
    readers = 0;
    CHECK(last_of_children(last_child(getpid()), &readers) > 0);
    syz_h5_close(&f[0]);
    if (readers != 1) pause_ms(10);
  }
  CHECK_EQ(readers, 1);
}

static void test_starter(void)
{
  syz_h5 *f = NULL, *g = NULL;
  CHECK_OK(syz_h5_open(NULL, path, &f));
  CHECK(kill(last_child(getpid()), SIGKILL) == 0);
  pause_ms(20);
  CHECK(syz_h5_has(f, "image") && !syz_h5_has(f, "nothing")); /* its reader is not concerned */
  CHECK_OK(syz_h5_open(NULL, path, &g));
  CHECK(syz_h5_has(g, "image") && !syz_h5_has(g, "nothing"));
  syz_h5_close(&f);
  syz_h5_close(&g);
  const pid_t starter = last_child(getpid());
  CHECK(starter > 0);
  syz_h5_finish();
  CHECK(last_child(getpid()) == 0 && kill(starter, 0) != 0 && errno == ESRCH);
}

int main(void)
{
  const char *base = getenv("TMPDIR");
  void *shared = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  snprintf(folder, sizeof folder, "%s/syzygy-test-XXXXXX", base ? base : "/tmp");
  if (shared == MAP_FAILED || !mkdtemp(folder)) return 1;
  snprintf(path, sizeof path, "%s/f.h5", folder);
  CHECK_OK(syz_fixture_shard(path, 1, 0, 2));
  test_what_it_has();
  test_ends();
  test_slow();
#ifndef __SANITIZE_ADDRESS__ /* it ends a process that gets no memory */
  test_memory();
#endif
  test_many();
  test_starter();
  scratch_empty(folder);
  rmdir(folder);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}

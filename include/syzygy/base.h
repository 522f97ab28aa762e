/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * base: what every room stands on. Errors, log, clock, counter-based random numbers, aligned memory, checksums, input
 * files.
 *
 * Nothing here knows of MPI: comm tells the log its rank and installs the abort hook. Nothing here is collective.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---------------------------------------------------------------- errors */

/** What a failure means; the values are the exit codes (src/README.md "Exit codes"), so a status can end the program
 * unchanged. */
#define SYZ_STATUS_LIST(X)                                                                                             \
  X(SYZ_OK, 0, "done")                                                                                                 \
  X(SYZ_ERR_INPUT, 2, "command line or input file")                                                                    \
  X(SYZ_ERR_DATA, 3, "bad input data")                                                                                 \
  X(SYZ_ERR_WRITE, 4, "cannot write")                                                                                  \
  X(SYZ_ERR_CHECKPOINT, 5, "no usable checkpoint")                                                                     \
  X(SYZ_ERR_NUMERIC, 6, "numerical failure")                                                                           \
  X(SYZ_ERR_RANK, 7, "a rank died or hung")                                                                            \
  X(SYZ_ERR_MEMORY, 8, "not enough memory or ranks")                                                                   \
  X(SYZ_ERR_INTERNAL, 10, "internal error")                                                                            \
  X(SYZ_STOPPED, 75, "stopped early with a good checkpoint: run the same command again to go on")

typedef enum syz_status {
#define SYZ_STATUS_ENUM(name, value, text) name = value,
  SYZ_STATUS_LIST(SYZ_STATUS_ENUM)
#undef SYZ_STATUS_ENUM
} syz_status;

enum { SYZ_ERROR_TEXT = 4096 };

/** Text of a status, as in the list above; never NULL. */
const char *syz_status_text(syz_status status);

/** Record a failure of this thread (replacing any earlier one) and return `code`. printf-like. */
syz_status syz_error_set(syz_status code, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/** Add "passed file:line" to the recorded failure; returns `code` unchanged. */
syz_status syz_error_pass(syz_status code, const char *file, int line);

/** The recorded message of this thread, a buffer of SYZ_ERROR_TEXT bytes; empty when nothing failed. Writable:
 * agreement copies into it. */
char *syz_error_text(void);

/** If `cond` is false: record the message, set st, goto cleanup. */
#define SYZ_REQUIRE(cond, code, ...)                                                                                   \
  do {                                                                                                                 \
    if (!(cond)) {                                                                                                     \
      st = syz_error_set((code), __FILE__, __LINE__, __VA_ARGS__);                                                     \
      goto cleanup;                                                                                                    \
    }                                                                                                                  \
  } while (0)

/** st = call; if it failed: add this place, goto cleanup. In a collective function only for calls that have agreed
 * inside. */
#define SYZ_TRY(call)                                                                                                  \
  do {                                                                                                                 \
    st = (call);                                                                                                       \
    if (st != SYZ_OK) {                                                                                                \
      st = syz_error_pass(st, __FILE__, __LINE__);                                                                     \
      goto cleanup;                                                                                                    \
    }                                                                                                                  \
  } while (0)

/** Ends the whole job at once; for places where agreement is impossible. comm installs MPI_Abort as the hook. Does not
 * return. */
_Noreturn void syz_abort(syz_status code, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void syz_abort_hook(void (*hook)(int code));

/** An internal contract that must hold in every build: otherwise the job ends with exit code 10. */
#define SYZ_ASSERT(cond)                                                                                               \
  ((cond) ? (void)0 : syz_abort(SYZ_ERR_INTERNAL, __FILE__, __LINE__, "broken contract: %s", #cond))

/**
 * Injected failures, for tests: true when the environment's SYZ_FAULT asks for a failure at this visit.
 *
 * SYZ_FAULT is `point:rank:visit[:kill|stop|spin|sleep]`, e.g. `h5_write:2:3` (the third visit of h5_write on rank 2
 * fails) or with `kill` (the rank sends itself SIGKILL there), `stop` (SIGSTOP), `spin` (it computes for ever), `sleep`
 * (it waits for ever). Always false unless built with -DSYZ_FAULTS=ON.
 */
bool syz_fault(const char *point);
/**
 * Bits flipped on purpose, for tests: true when the environment's SYZ_FLIP asks for one at this visit of `point`; *draw
 * is then drawn from its seed. SYZ_FLIP is a list with commas of `point:rank:visit:seed[:always]`, with `always`
 * another one at that visit and at each that follows. False unless built with -DSYZ_FAULTS=ON.
 */
bool syz_flip(const char *point, uint64_t *draw);
/** Flip one bit of bytes [n], chosen by `draw`. Nothing when n is 0. */
void syz_flip_bit(void *bytes, size_t n, uint64_t draw);

/* ------------------------------------------------------------------- log */

typedef enum syz_log_level { SYZ_LOG_INFO, SYZ_LOG_WARN, SYZ_LOG_ERROR } syz_log_level;

/** Who speaks: only rank 0 prints info and warnings; errors print on whichever rank calls. Default rank 0 of 1. */
void syz_log_rank(int rank, int size);
int syz_log_get_rank(void);
/** Also append everything to this file (rank 0); NULL closes it. Not finding it writable is SYZ_ERR_WRITE. */
syz_status syz_log_file(const char *path);
void syz_log(syz_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define syz_info(...) syz_log(SYZ_LOG_INFO, __VA_ARGS__)
#define syz_warn(...) syz_log(SYZ_LOG_WARN, __VA_ARGS__)

/** A progress line with rate and time left: live on a terminal, one line at intervals in a file. Rank 0 only prints. */
typedef struct syz_progress {
  const char *what, *unit;
  int64_t total, start;
  double t0, t_last;
} syz_progress;
/** Begin at `start` (work done by an earlier run does not count in the rate) of `total` units. Strings are borrowed. */
void syz_progress_begin(syz_progress *p, const char *what, const char *unit, int64_t start, int64_t total);
/** Tell what is done; `note` (may be NULL) is shown after the rate. Prints only when due. */
void syz_progress_tell(syz_progress *p, int64_t done, const char *note);
void syz_progress_end(syz_progress *p, int64_t done);

/* ----------------------------------------------------------------- clock */

/** Monotonic seconds since an arbitrary start. */
double syz_clock_s(void);
/** Seconds since the program started. */
double syz_clock_since_start_s(void);
/** UTC now as "2026-01-31T12:00:00Z" into at least 21 bytes. */
void syz_clock_utc(char text[32]);

/**
 * Where the time went on this rank: phases by name, exclusive (a phase begun inside another pauses the outer one).
 * `within_s`, where it is given, is a running count of seconds (those inside MPI): what it gains while a phase runs is
 * kept beside the phase's time.
 */
enum { SYZ_TIMING_PHASES = 32, SYZ_TIMING_DEPTH = 8 };
typedef struct syz_timing {
  const char *name[SYZ_TIMING_PHASES];
  double seconds[SYZ_TIMING_PHASES], within[SYZ_TIMING_PHASES];
  int64_t count[SYZ_TIMING_PHASES];
  int n, depth;
  int stack[SYZ_TIMING_DEPTH];
  double t_first, t_last;           /**< clock of the first begin, of the last change */
  double within_first, within_last; /**< within_s then */
  const double *within_s;           /**< borrowed; NULL: none */
} syz_timing;
void syz_timing_begin(syz_timing *t, const char *phase); /**< `phase` must be a string that outlives t */
void syz_timing_end(syz_timing *t);
/** Forget all phases and start the count of time now; no phase may be open. */
void syz_timing_restart(syz_timing *t);

/* ----------------------------------------------------------------- pulse */

/**
 * Signs of life of this process, which a watchdog (comm) looks at: a count that moves whenever work goes on, and what
 * the main thread does. Every call costs a few nanoseconds. Phases, progress lines and MPI calls of comm give them
 * already; a long loop without any of these calls syz_pulse once a turn. Any thread.
 */
void syz_pulse(void);
/** The phase that the main thread is in: a string that lasts; NULL: none. Work went on. */
void syz_pulse_phase(const char *name);
/** The main thread waits for other ranks in `call` (a string that lasts) from here on; NULL: no longer, and work went
 * on. */
void syz_pulse_wait(const char *call);
/** The main thread has looked, in a loop, whether other ranks are ready: it waits, unless work goes on between the
 * looks. */
void syz_pulse_look(const char *call);
typedef struct syz_pulse_state {
  uint64_t beats, looks;
  const char *phase, *wait, *look; /**< NULL: none */
} syz_pulse_state;
syz_pulse_state syz_pulse_read(void);

/* ---------------------------------------------------------------- random */

/**
 * Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405).
 *
 * Every number is a pure function of (seed, purpose, step, sample, draw); nothing has a history, so results do not
 * depend on ranks, threads or restarts. `step` is an epoch or a step, `sample` a global index or object number.
 */
#define SYZ_RANDOM_PURPOSES(X)                                                                                         \
  X(SYZ_RANDOM_TEST, 1)                                                                                                \
  X(SYZ_RANDOM_SHUFFLE, 2)                                                                                             \
  X(SYZ_RANDOM_INIT, 3)                                                                                                \
  X(SYZ_RANDOM_DROPOUT, 4)                                                                                             \
  X(SYZ_RANDOM_FLIP, 5)                                                                                                \
  X(SYZ_RANDOM_IMAGE_NOISE, 6)                                                                                         \
  X(SYZ_RANDOM_SPECTRUM_NOISE, 7)                                                                                      \
  X(SYZ_RANDOM_SPECTRUM_MASK, 8)                                                                                       \
  X(SYZ_RANDOM_SIM_PHYSICS, 9)                                                                                         \
  X(SYZ_RANDOM_SIM_MORPHOLOGY, 10)                                                                                     \
  X(SYZ_RANDOM_SIM_IMAGE_NOISE, 11)                                                                                    \
  X(SYZ_RANDOM_SIM_SPECTRUM_NOISE, 12)                                                                                 \
  X(SYZ_RANDOM_SIM_SKY, 13)                                                                                            \
  X(SYZ_RANDOM_SIM_ARTEFACT, 14)                                                                                       \
  X(SYZ_RANDOM_SIM_NEIGHBOUR, 15)                                                                                      \
  X(SYZ_RANDOM_BENCH, 16)                                                                                              \
  X(SYZ_RANDOM_CROP, 17)                                                                                               \
  X(SYZ_RANDOM_CROP_NOISE, 18)                                                                                         \
  X(SYZ_RANDOM_BLOCK_MASK, 19)                                                                                         \
  X(SYZ_RANDOM_MASK_ORDER, 20)                                                                                         \
  X(SYZ_RANDOM_RUN_MASK, 21)                                                                                           \
  X(SYZ_RANDOM_DROP_PATH, 22)                                                                                          \
  X(SYZ_RANDOM_PROBE, 23)

typedef enum syz_random_purpose {
#define SYZ_RANDOM_ENUM(name, value) name = value,
  SYZ_RANDOM_PURPOSES(SYZ_RANDOM_ENUM)
#undef SYZ_RANDOM_ENUM
} syz_random_purpose;

typedef struct syz_random {
  uint64_t seed;
  uint64_t sample;
  uint32_t purpose;
  uint32_t step; /**< steps and epochs below 2^32 */
} syz_random;

/** The stream of (seed, purpose, step, sample). A stream is a value: copying it shares nothing. */
syz_random syz_random_make(uint64_t seed, syz_random_purpose purpose, uint64_t step, uint64_t sample);
/** Four independent 32-bit words, block `block` of the stream: draws 4 block .. 4 block + 3. */
void syz_random_block(const syz_random *r, uint32_t block, uint32_t word[4]);
uint32_t syz_random_u32(const syz_random *r, uint32_t draw);
/** Uniform in [0, 1), 53 bits, from block `draw`. */
double syz_random_uniform(const syz_random *r, uint32_t draw);
/** Standard normal (Box-Muller), from block `draw`. */
double syz_random_normal(const syz_random *r, uint32_t draw);
/** Uniform integer in [0, n), n >= 1, unbiased to 2^-64 n. */
uint64_t syz_random_below(const syz_random *r, uint32_t draw, uint64_t n);
/** Standard normals 0 .. n-1 of the stream as float32: fast path for pixels; two normals from each 64 bits. */
void syz_random_fill_normal(const syz_random *r, float *x, size_t n);
/** x[i] += sigma times normal i of the stream; the normals are those of syz_random_fill_normal within 2e-6, more than
 * four times as fast. */
void syz_random_add_normal(const syz_random *r, float sigma, float *x, size_t n);
/** Where position `i` of a shuffled 0..n-1 comes from: a keyed bijection (Feistel network with cycle walking), O(1), no
 * table. */
uint64_t syz_random_permute(const syz_random *r, uint64_t n, uint64_t i);

/* ---------------------------------------------------------------- memory */

/**
 * 64-byte aligned, labelled and counted memory, zero-filled; huge pages are asked for above 2 MiB.
 * Returns NULL and records SYZ_ERR_MEMORY with label and size when there is none (or when the product overflows).
 */
void *syz_alloc(const char *label, size_t count, size_t size);
/** Frees and sets the pointer to NULL; NULL is fine. Use as syz_free(&p). */
void syz_free_(void **p);
#define syz_free(pp) syz_free_((void **)(pp))
/** SYZ_TRY-like: allocate into `p` or goto cleanup. */
#define SYZ_ALLOC(p, label, count)                                                                                     \
  do {                                                                                                                 \
    (p) = syz_alloc((label), (size_t)(count), sizeof *(p));                                                            \
    if (!(p)) {                                                                                                        \
      st = syz_error_pass(SYZ_ERR_MEMORY, __FILE__, __LINE__);                                                         \
      goto cleanup;                                                                                                    \
    }                                                                                                                  \
  } while (0)

typedef struct syz_memory_stats {
  int64_t allocations; /**< calls of syz_alloc so far: must not move inside a step */
  int64_t live_blocks;
  size_t live_bytes, peak_bytes;
} syz_memory_stats;
syz_memory_stats syz_memory_get(void);
/** Peak resident set of this process in bytes, from the kernel. */
size_t syz_memory_resident_peak(void);
/** Resident set of this process now without memory that processes share on purpose; 0 when the kernel does not tell. */
size_t syz_memory_private(void);
/** What it leaves out. */
size_t syz_memory_shared(void);
/** Resident set of this process now, in which a page that n processes share counts 1/n (the kernel's Pss); 0 when the
 * kernel does not tell. */
size_t syz_memory_proportional(void);
/** The largest value of syz_memory_proportional that syz_memory_note, called where much is held, has seen. */
void syz_memory_note(void);
size_t syz_memory_noted(void);
/** Memory this process may still use: the machine's, or the tighter limit of its control group. */
size_t syz_memory_available(void);
/** This rank's part of it, when all ranks of the node want as much. */
size_t syz_memory_share(void);
/** How many ranks this node has; 1 until told. */
void syz_memory_set_ranks(int ranks);

/** A plan of memory: first sizes are reserved, then one block is allocated, then the same calls hand out the addresses.
 */
typedef struct syz_arena {
  unsigned char *base;
  size_t used, size;
} syz_arena;
/** `count` items of `size` bytes at the next 64-byte boundary; NULL while only measuring (base is NULL). */
void *syz_arena_take(syz_arena *a, size_t count, size_t size);

/* ---------------------------------------------------------------- bfloat16 */

/** Storage only; a struct so that nobody adds two of them by accident. */
typedef struct syz_bf16 {
  uint16_t bits;
} syz_bf16;
static inline float syz_bf16_to_f32(syz_bf16 x)
{
  union {
    uint32_t u;
    float f;
  } v = {(uint32_t)x.bits << 16};
  return v.f;
}
/** Round to nearest even; a NaN stays a (quiet) NaN. */
static inline syz_bf16 syz_bf16_from_f32(float x)
{
  union {
    float f;
    uint32_t u;
  } v = {x};
  uint32_t rounded = v.u + 0x7fffu + ((v.u >> 16) & 1u);
  uint32_t is_nan = (v.u & 0x7fffffffu) > 0x7f800000u;
  return (syz_bf16){(uint16_t)(is_nan ? (v.u >> 16) | 0x40u : rounded >> 16)};
}

/* -------------------------------------------------------------- logarithm */

/** log(w) for normal w > 0, relative error below 1e-7; inline and without branches, so that loops over pixels
 * vectorise. Source: Cephes single/logf.c (S. Moshier). */
static inline float syz_log_f32(float w)
{
  union {
    float f;
    uint32_t u;
  } v = {w};
  uint32_t shifted = v.u - 0x3f3504f3u; /* bits of sqrt(1/2) */
  int32_t e = (int32_t)shifted >> 23;
  v.u = (shifted & 0x007fffffu) + 0x3f3504f3u;
  float x = v.f - 1.0f, z = x * x;
  float y = 7.0376836292e-2f;
  y = y * x - 1.1514610310e-1f;
  y = y * x + 1.1676998740e-1f;
  y = y * x - 1.2420140846e-1f;
  y = y * x + 1.4249322787e-1f;
  y = y * x - 1.6668057665e-1f;
  y = y * x + 2.0000714765e-1f;
  y = y * x - 2.4999993993e-1f;
  y = y * x + 3.3333331174e-1f;
  y = y * x * z;
  float fe = (float)e;
  y += -2.12194440e-4f * fe;
  y += -0.5f * z;
  return x + y + 0.693359375f * fe;
}

/* -------------------------------------------------------------- checksums */

/** XXH3 (64 bits) of bytes; `seed` chains or labels. */
uint64_t syz_checksum(const void *bytes, size_t n, uint64_t seed);
/**
 * Checksum of rows that different ranks hold: the sum modulo 2^64 of XXH3(row, seed = global row number + 1).
 * Partial sums over any partition of the rows add up to the same value, so it does not depend on the rank count.
 */
uint64_t syz_checksum_rows(const void *rows, int64_t n, size_t row_bytes, int64_t first_row);
/**
 * Digest of a file's content: the sum modulo 2^64 of XXH3(block, seed = block number + 1) over blocks of 1 MiB, of the
 * share `part` of `parts` (all: 0 of 1). The sums of all parts add up to the same value for any number of parts. Reads
 * at the speed of the disk. SYZ_ERR_DATA.
 */
syz_status syz_file_sum(const char *path, int part, int parts, int64_t *bytes, uint64_t *sum);
/**
 * Sum modulo 2^64 of the bits of x [n] as 64-bit words of two elements, half a word at the end of an odd number. Any
 * change within one word changes it, so no flipped bit is missed; sums of stretches that begin at even places add up to
 * that of the whole. As fast as memory, unlike XXH3.
 */
uint64_t syz_sum_of_bits(const float *x, int64_t n);

/* ------------------------------------------------------------ input files */

typedef enum syz_key_type {
  SYZ_KEY_INT,
  SYZ_KEY_REAL,
  SYZ_KEY_BOOL,
  SYZ_KEY_TEXT,
  SYZ_KEY_CHOICE,
  SYZ_KEY_LIST
} syz_key_type;

/** One key of the input file: the table of these is the only list of keys in the program. */
typedef struct syz_key {
  const char *path;    /**< "train.lr" */
  syz_key_type type;   /**< SYZ_KEY_LIST: a list of texts; a single text is a list of one */
  const char *preset;  /**< default, as it would stand in the file; lists: comma-separated, "" = empty */
  const char *unit;    /**< "" when it has none */
  double min, max;     /**< inclusive range of numbers; ignored for the other types */
  const char *choices; /**< SYZ_KEY_CHOICE: "a|b|c"; otherwise NULL */
  uint32_t commands;   /**< bit mask of the commands that use it (bits are the application's) */
  const char *help;    /**< one sentence */
} syz_key;

/** A parsed input: every key of its tables has a value. */
typedef struct syz_input syz_input;

/** All keys at their defaults. `table`: array of `n` key arrays, each ended by an entry with path NULL; borrowed for
 * ever. */
syz_status syz_input_create(const syz_key *const *table, int n, syz_input **out);
void syz_input_destroy(syz_input **in);
/** Read YAML text. `name` (the file) goes into messages with line numbers. SYZ_ERR_INPUT on unknown, repeated or
 * ill-typed keys. */
syz_status syz_input_parse(syz_input *in, const char *name, const char *text, size_t n);
/** One "path=value" of the command line; may replace a value of the file, but not be given twice. Lists: a,b or [a, b],
 * items with commas in quotation marks. */
syz_status syz_input_override(syz_input *in, const char *assignment);
int64_t syz_input_int(const syz_input *in, const char *path);
double syz_input_real(const syz_input *in, const char *path);
bool syz_input_bool(const syz_input *in, const char *path);
/** TEXT and CHOICE; borrowed until the input is destroyed. */
const char *syz_input_text(const syz_input *in, const char *path);
/** Number of items of a LIST, and the items; borrowed. */
int syz_input_list_size(const syz_input *in, const char *path);
const char *syz_input_list_item(const syz_input *in, const char *path, int i);
/** A list of texts, borrowed from whoever made it. */
typedef struct syz_texts {
  int n;
  const char *const *item;
} syz_texts;
/** All items of a LIST; borrowed until the input changes. */
syz_texts syz_input_list(const syz_input *in, const char *path);
/** The texts one a line (syz_free); NULL without memory. */
char *syz_texts_lines(syz_texts t);
/** Insertions, deletions and changes of letters (case ignored) that turn one name into the other: for "the nearest
 * known one is". */
int syz_edit_distance(const char *a, const char *b);
/** Whether the file or the command line gave it. */
bool syz_input_is_given(const syz_input *in, const char *path);
/** Set from the program, e.g. from a model file's own configuration; checked like a file's value. */
syz_status syz_input_assign(syz_input *in, const char *path, const char *value);
/** The resolved input as YAML, every key of the sections that any command of the mask uses (0 = all); `section` NULL or
 * one top-level section ("model"). Owned by the caller: syz_free. NULL without memory. */
char *syz_input_yaml(const syz_input *in, uint32_t commands, const char *section);
/** The keys that the commands of the mask use, one line each with type, default, unit, range and help; for --help. */
void syz_input_help(const syz_input *in, uint32_t commands, void (*print)(const char *line));

/* --------------------------------------------------------------- version */

const char *syz_version(void); /**< "0.1.0" */
const char *syz_commit(void);  /**< git commit, "-dirty" appended when it was; "unknown" outside a checkout */
const char *syz_build(void);   /**< compiler, build type, flags in one line */
/* ------------------------------------------------------------- processor */

/** Instructions that own kernels and libraries are chosen by, each including those before it of the same architecture.
 */
typedef enum syz_isa {
  SYZ_ISA_AVX2, /**< x86-64 from here */
  SYZ_ISA_AVX512,
  SYZ_ISA_AVX512_BF16,
  SYZ_ISA_AMX,
  SYZ_ISA_NEON,      /**< 64-bit Arm from here */
  SYZ_ISA_NEON_BF16, /**< FEAT_BF16 and FEAT_I8MM: products of bfloat16 and of 8-bit integers */
  SYZ_ISA_LAST = SYZ_ISA_NEON_BF16
} syz_isa;
/** What this processor has, at most the limit below. The first call asks the operating system for leave to use tiles,
 * once a process; a refusal is said in one warning and the next best instructions are taken. */
syz_isa syz_processor_isa(void);
/** Do as on an older processor, from the next compute context on. Before any thread. The compiler's own versions of
 * element-wise loops are not concerned. A level of the other architecture limits nothing. */
void syz_processor_limit(syz_isa most);
/** "avx2", "avx512", "avx512_bf16", "amx", "neon", "neon_bf16". */
const char *syz_isa_name(syz_isa isa);
/** The name of syz_processor_isa(). */
const char *syz_instruction_set(void);

/* -------------------------------------------------- children that decode */

/** What a child that decodes bytes from outside may still do. */
typedef struct syz_confinement {
  size_t memory; /**< bytes of address space beyond what it has; 0: as the user's own limit says */
  int cpu_s;     /**< seconds of processor time, then SIGXCPU; 0: no limit */
  bool may_open; /**< other files, for reading */
} syz_confinement;
/**
 * For a forked child, first: give up every descriptor but `keep` [n] (0, 1, 2 become /dev/null), writable memory shared
 * with other processes, MPI's signal handlers and the signals meant for the run (they are ignored: the run ends its
 * children). Cannot fail.
 */
void syz_child_separate(const int *keep, int n);
/** What ps shows of that child; also in place of the command line that it has from its parent. */
void syz_child_name(const char *name);
/** For that child, before it touches a byte of the file: limits that can't be lifted again, and a filter of system
 * calls where the platform has seccomp. Returns true when the user's own limit of memory (ulimit -v) is the tighter
 * one. */
bool syz_child_confine(const syz_confinement *c);
/** For a confined child: at most `bytes` of address space more than it has now, until the next call; 0: what
 * syz_child_confine said. Returns true when `bytes` is the tighter bound. In a process that is not confined it does
 * nothing and returns false. */
bool syz_child_limit(size_t bytes);

/* ----------------------------------------------------------------- files */

/** Create a folder and its parents; existing is fine. SYZ_ERR_WRITE names the path and errno's reason. */
syz_status syz_make_folder(const char *path);
/**
 * Open a file for reading: a regular one, or SYZ_ERR_DATA with its name and what it is instead. A FIFO or a device
 * would keep the caller waiting for ever; opening is told not to wait, and the type is asked of what has been opened.
 * *fd is the caller's to close, -1 on error; *bytes: its size now.
 */
syz_status syz_file_open_input(const char *path, int *fd, int64_t *bytes);
/** Whole small file into memory, NUL-terminated (syz_free); at most `limit` bytes. SYZ_ERR_DATA otherwise. */
syz_status syz_file_read(const char *path, size_t limit, char **text, size_t *n);
/** Write a small text file atomically: name.tmp, fsync, rename. */
syz_status syz_file_write(const char *path, const char *text, size_t n);
/** fsync a file, rename it to its final name, fsync the folder. A link under either name is refused. */
syz_status syz_file_publish(const char *temporary, const char *final);

/*
 * Symbolic links: the folders that the user names (output.dir, train.token_cache_dir) may be links. What syzygy itself
 * creates or replaces below them is never reached through one, and what it removes is the name, never what a link
 * points to: a link in place of a file to be written, or of a folder to be written into or removed, is SYZ_ERR_WRITE
 * with its path. Reading follows links. See src/base/place.c.
 */

/** SYZ_ERR_WRITE when the name is a symbolic link; a name that is not there is fine. */
syz_status syz_refuse_link(const char *path);
/** open(2) of a file to be written, never through a link; a new file gets mode 0666. SYZ_ERR_WRITE also for what is no
 * regular file. */
syz_status syz_file_open(const char *path, int flags, int *fd);
/** Create the folder `base` as syz_make_folder does, and the folders `below` it, of which none may be a link. */
syz_status syz_make_own_folder(const char *base, const char *below);
/** Remove a folder of files, the file `first` before the others; a missing one is fine. Neither the folder nor anything
 * in it is followed. */
syz_status syz_remove_folder(const char *path, const char *first);

/**
 * Folders and files met on a walk through folders, by device and number: what a symbolic link leads to again is not
 * new, so that nothing counts twice and a loop of links ends. Begin with {0}; not shared between threads.
 */
typedef struct syz_met {
  struct syz_met_entry *entry; /**< open addressing */
  size_t n, room;
} syz_met;
/** *is_new: it was not met before, and is from now on. SYZ_ERR_DATA when `path` cannot be looked at, SYZ_ERR_MEMORY. */
syz_status syz_met_add(syz_met *m, const char *path, bool *is_new);
void syz_met_free(syz_met *m);

/* SPDX-License-Identifier: BSD-3-Clause */
/** Instruction sets of this processor, and the user's limit on them. */
#define _DEFAULT_SOURCE /* syscall */
#include "syzygy/base.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool has_avx512(void)
{
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

/** Tiles with bfloat16 and 8-bit products: CPUID leaf 7 (EDX bits 22, 24, 25), their state enabled by the kernel
 * (XCR0 bits 17 and 18). gcc 12 has no name for them in __builtin_cpu_supports. */
static bool has_tiles(void)
{
  const unsigned need = 1u << 22 | 1u << 24 | 1u << 25, state = 1u << 17 | 1u << 18, osxsave = 1u << 27;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & osxsave)) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & need) != need) return false;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & state) == state;
}

/** Linux enables tiles for a process only on request, for all its threads; without the request the first tile
 * instruction raises SIGILL. */
static bool ask_for_tiles(void)
{
  enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA of asm/prctl.h */
  return !syz_fault("tiles") && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

static syz_isa look(void)
{
  __builtin_cpu_init();
  if (!has_avx512()) return SYZ_ISA_AVX2;
  if (!__builtin_cpu_supports("avx512bf16")) return SYZ_ISA_AVX512;
  if (!has_tiles()) return SYZ_ISA_AVX512_BF16;
  if (ask_for_tiles()) return SYZ_ISA_AMX;
  syz_warn("this processor has tiles (AMX), but the operating system does not allow their use: they are not used");
  return SYZ_ISA_AVX512_BF16;
}

enum { LEAST = SYZ_ISA_AVX2, MOST = SYZ_ISA_AMX };
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>

static syz_isa look(void)
{
  const unsigned long need = HWCAP2_BF16 | HWCAP2_I8MM;
  return (getauxval(AT_HWCAP2) & need) == need ? SYZ_ISA_NEON_BF16 : SYZ_ISA_NEON;
}

enum { LEAST = SYZ_ISA_NEON, MOST = SYZ_ISA_NEON_BF16 };
#else
#error "syzygy runs on x86-64 and on 64-bit Arm"
#endif

static syz_isa limit = (syz_isa)MOST;

void syz_processor_limit(syz_isa most)
{
  limit = (int)most >= (int)LEAST && (int)most <= (int)MOST ? most : (syz_isa)MOST;
}

syz_isa syz_processor_isa(void)
{
  /* Determined once, before any thread starts: the first compute context calls this at the latest. */
  static bool is_known;
  static syz_isa has;
  if (!is_known) has = look(), is_known = true;
  return has < limit ? has : limit;
}

const char *syz_isa_name(syz_isa isa)
{
  static const char *const name[] = {"avx2", "avx512", "avx512_bf16", "amx", "neon", "neon_bf16"};
  return name[isa];
}

const char *syz_instruction_set(void) { return syz_isa_name(syz_processor_isa()); }

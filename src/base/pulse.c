/* SPDX-License-Identifier: BSD-3-Clause */
/** Signs of life: a progress counter, and what the main thread is doing now. Written by the workers, read by the
 * watchdog thread. */
#include <stdatomic.h>

#include "pulse.h"

static _Atomic uint64_t beats, looks;
static _Atomic(const char *) phase, wait, look;

void syz_pulse(void) { atomic_fetch_add_explicit(&beats, 1, memory_order_relaxed); }

void syz_pulse_phase(const char *name)
{
  atomic_store_explicit(&phase, name, memory_order_relaxed);
  syz_pulse();
}

void syz_pulse_wait(const char *call)
{
  atomic_store_explicit(&wait, call, memory_order_relaxed);
  if (!call) syz_pulse();
}

void syz_pulse_look(const char *call)
{
  atomic_store_explicit(&look, call, memory_order_relaxed);
  atomic_fetch_add_explicit(&looks, 1, memory_order_relaxed);
}

syz_pulse_state syz_pulse_read(void)
{
  return (syz_pulse_state){.beats = atomic_load_explicit(&beats, memory_order_relaxed),
                           .looks = atomic_load_explicit(&looks, memory_order_relaxed),
                           .phase = atomic_load_explicit(&phase, memory_order_relaxed),
                           .wait = atomic_load_explicit(&wait, memory_order_relaxed),
                           .look = atomic_load_explicit(&look, memory_order_relaxed)};
}

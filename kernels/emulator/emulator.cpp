// The emulator's one copy: fibers and their scheduler, warp operations, guarded memory.
#include "emulator.h"
#include "cuda_fp16.h"

#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

// ---------------------------------------------------------------------------------------------
// Switching stacks. `swapcontext` would make a system call each time.

extern "C" void emu_switch(void **save, void *load);

#if defined(__x86_64__)
asm(R"(
.text
.globl emu_switch
.type emu_switch,@function
emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emu_switch,.-emu_switch
)");
constexpr int SAVED = 6;  // words above the return address
constexpr int ENTRY = 6;  // which of the words is the address to go to
#elif defined(__aarch64__)
asm(R"(
.text
.globl emu_switch
.type emu_switch,%function
emu_switch:
    sub sp, sp, #160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size emu_switch,.-emu_switch
)");
constexpr int SAVED = 20;
constexpr int ENTRY = 11;
#else
#error "the emulator switches stacks on x86-64 and aarch64 only"
#endif

namespace emu {

constexpr size_t STACK = 128 << 10;
constexpr uint64_t CANARY = 0x5AFE57AC5AFE57ACull;

struct Copy { void *to; const void *from; size_t bytes; unsigned group; };

struct Fiber {
    void *stack_pointer;
    unsigned linear;
    bool done = false;
    bool at_barrier = false;
    Place barrier{};
    Thread thread;
    Lane lane{};
    std::vector<Copy> copies;
    unsigned committed = 0;
};

// One launch; a thread of the operating system runs at most one.
struct Launch {
    void (*kernel)(void **);
    void **parameters;
    uint64_t random;
    void *scheduler = nullptr;
    Fiber *current = nullptr;
    std::vector<Fiber> fibers;
    std::vector<Fiber *> ready;
    unsigned waiting = 0, alive = 0;
    char *stacks = nullptr;
    size_t stacks_bytes = 0;
    std::string error;
    sigjmp_buf fault;
    int fault_signal = 0;
    void *fault_address = nullptr;
};

static __thread Launch *launch_here;

extern "C" {
__thread Thread *emu_thread = nullptr;
}

static unsigned draw(Launch &l, unsigned below) {
    l.random ^= l.random << 13;
    l.random ^= l.random >> 7;
    l.random ^= l.random << 17;
    return unsigned((l.random >> 16) % below);
}

static std::string where(Place p) {
    const char *slash = p.file ? strrchr(p.file, '/') : nullptr;
    return p.file ? std::string(slash ? slash + 1 : p.file) + ":" + std::to_string(p.line) : "?";
}

static std::string name_of(const Fiber &f) {
    char text[96];
    const Thread &t = f.thread;
    snprintf(text, sizeof text, "block (%u, %u, %u) thread %u (warp %u lane %u)", t.block_index.x,
             t.block_index.y, t.block_index.z, f.linear, f.linear / 32, f.linear % 32);
    return text;
}

static void leave(Launch &l) {
    void *unused;
    emu_switch(&unused, l.scheduler);
    __builtin_unreachable();
}

extern "C" void emu_fail(const char *format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    Launch &l = *launch_here;
    l.error = name_of(*l.current) + ": " + text;
    leave(l);
    abort();
}

static void park(Launch &l) {
    Fiber *me = l.current;
    emu_switch(&me->stack_pointer, l.scheduler);
}

// ---------------------------------------------------------------------------------------------
// Barriers

static void release_barrier(Launch &l) {
    for (Fiber &f : l.fibers) {
        if (!f.at_barrier) continue;
        f.at_barrier = false;
        l.ready.push_back(&f);
    }
    l.waiting = 0;
}

extern "C" void emu_barrier(Place place) {
    Launch &l = *launch_here;
    Fiber &me = *l.current;
    for (Fiber &f : l.fibers) {
        if (!f.at_barrier) continue;
        if (f.barrier.line != place.line || strcmp(f.barrier.file, place.file) != 0)
            emu_fail("barrier at %s while thread %u waits at %s", where(place).c_str(), f.linear,
                     where(f.barrier).c_str());
        break;
    }
    me.at_barrier = true;
    me.barrier = place;
    if (++l.waiting == l.alive) release_barrier(l);
    park(l);
}

// ---------------------------------------------------------------------------------------------
// Warp operations

static float half_at(const uint32_t *words, int index) {
    return __half2float(__ushort_as_half((unsigned short)(words[index / 2] >> (16 * (index & 1)))));
}

// The fragment layouts are those of the PTX manual, "Matrix fragments for mma.m16n8k16".
static void complete_mma(Fiber *warp) {
    float a[16][16], b[16][8], c[16][8];
    for (int l = 0; l < 32; l++) {
        int group = l / 4, pair = l % 4 * 2;
        const uint32_t *in = warp[l].lane.in;
        for (int i = 0; i < 8; i++) {
            int row = group + (i / 2 % 2) * 8, column = pair + i % 2 + i / 4 * 8;
            a[row][column] = half_at(in, i);
        }
        for (int i = 0; i < 4; i++) b[pair + i % 2 + i / 2 * 8][group] = half_at(in + 4, i);
        for (int i = 0; i < 4; i++) memcpy(&c[group + i / 2 * 8][pair + i % 2], in + 6 + i, 4);
    }
    for (auto &row : c) {
        const float *x = a[&row - c];
        for (int column = 0; column < 8; column++)
            for (int k = 0; k < 16; k++) row[column] += x[k] * b[k][column];
    }
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++)
            memcpy(warp[l].lane.out + i, &c[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2], 4);
}

static void complete_transpose(Fiber *warp) {
    uint16_t m[8][8];
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 2; i++) m[l / 4][l % 4 * 2 + i] = uint16_t(warp[l].lane.in[0] >> 16 * i);
    for (int l = 0; l < 32; l++)
        warp[l].lane.out[0] = m[l % 4 * 2][l / 4] | uint32_t(m[l % 4 * 2 + 1][l / 4]) << 16;
}

static void complete(Launch &l, Fiber *warp, unsigned mask) {
    switch (l.current->lane.op) {
    case Op::Shuffle:
        for (int i = 0; i < 32; i++) {
            if (!(mask >> i & 1)) continue;
            int source = warp[i].lane.source;
            if (source < 0 || source > 31 || !(mask >> source & 1))
                emu_fail("%s: lane %d reads lane %d, which takes no part",
                         where(warp[i].lane.place).c_str(), i, source);
            memcpy(warp[i].lane.out, warp[source].lane.in, 8);
        }
        break;
    case Op::Ballot: {
        unsigned votes = 0;
        for (int i = 0; i < 32; i++)
            if (mask >> i & 1) votes |= warp[i].lane.in[0] << i;
        for (int i = 0; i < 32; i++)
            if (mask >> i & 1) warp[i].lane.out[0] = votes;
        break;
    }
    case Op::Mma: complete_mma(warp); break;
    case Op::Transpose: complete_transpose(warp); break;
    default: break;
    }
}

extern "C" Lane *emu_lane() { return &launch_here->current->lane; }

extern "C" void emu_collective(Op op, unsigned mask, Place place) {
    Launch &l = *launch_here;
    Fiber &me = *l.current;
    unsigned first = me.linear & ~31u, mine = me.linear & 31;
    Fiber *warp = &l.fibers[first];
    if (!(mask >> mine & 1)) emu_fail("%s: not in its own mask %08x", where(place).c_str(), mask);
    me.lane.op = op;
    me.lane.mask = mask;
    me.lane.place = place;
    bool all = true;
    for (unsigned i = 0; i < 32; i++) {
        if (!(mask >> i & 1)) continue;
        if (first + i >= l.fibers.size() || warp[i].done)
            emu_fail("%s: lane %u of mask %08x is not running", where(place).c_str(), i, mask);
        const Lane &other = warp[i].lane;
        if (other.op == Op::None) { all = false; continue; }
        if (other.op != op || other.mask != mask || other.place.line != place.line)
            emu_fail("warp operation at %s, mask %08x, while lane %u is at %s, mask %08x",
                     where(place).c_str(), mask, i, where(other.place).c_str(), other.mask);
    }
    if (!all) { park(l); return; }
    complete(l, warp, mask);
    for (unsigned i = 0; i < 32; i++) {
        if (!(mask >> i & 1)) continue;
        warp[i].lane.op = Op::None;
        if (i != mine) l.ready.push_back(&warp[i]);
    }
}

// ---------------------------------------------------------------------------------------------
// Asynchronous copies

extern "C" void emu_copy_async(void *to, const void *from, size_t bytes) {
    if (((uintptr_t)to | (uintptr_t)from) % bytes != 0)
        emu_fail("asynchronous copy of %zu bytes is not aligned: %p from %p", bytes, to, from);
    Fiber &f = *launch_here->current;
    volatile const char *probe = static_cast<const char *>(from);
    (void)probe[0];  // Faults where a GPU would.
    f.copies.push_back({to, from, bytes, f.committed});
}

extern "C" void emu_copy_commit() { launch_here->current->committed++; }

extern "C" void emu_copy_wait(unsigned groups_left) {
    Fiber &f = *launch_here->current;
    size_t kept = 0;
    for (const Copy &c : f.copies) {
        if (c.group + groups_left < f.committed) memcpy(c.to, c.from, c.bytes);
        else f.copies[kept++] = c;
    }
    f.copies.resize(kept);
}

// ---------------------------------------------------------------------------------------------
// Running a block

extern "C" void emu_entry() {
    Launch &l = *launch_here;
    l.kernel(l.parameters);
    Fiber &me = *l.current;
    me.done = true;
    l.alive--;
    if (l.alive > 0 && l.waiting == l.alive) release_barrier(l);
    leave(l);
}

static char *stack_of(Launch &l, unsigned linear) { return l.stacks + STACK * linear; }

static void start(Launch &l, Fiber &f) {
    char *bottom = stack_of(l, f.linear);
    memcpy(bottom, &CANARY, sizeof CANARY);
    void **top = reinterpret_cast<void **>(bottom + STACK - 64);
    // At a function's entry the stack pointer is 8 off a multiple of 16 on x86-64.
    void **frame = top - SAVED - 1 - (SAVED == 6 ? 0 : 1);
    if (SAVED == 6) frame = reinterpret_cast<void **>((uintptr_t(frame) & ~uintptr_t(15)));
    for (int i = 0; i <= SAVED; i++) frame[i] = nullptr;
    frame[ENTRY] = reinterpret_cast<void *>(&emu_entry);
    f.stack_pointer = frame;
}

static std::string stuck(Launch &l) {
    std::string text = "deadlock:";
    int shown = 0;
    for (const Fiber &f : l.fibers) {
        if (f.done || shown == 4) continue;
        Place at = f.at_barrier ? f.barrier : f.lane.place;
        text += " " + name_of(f) + " waits at " + where(at) + ";";
        shown++;
    }
    return text;
}

static void run_block(Launch &l, dim3 grid, dim3 block, uint3 index) {
    unsigned count = block.x * block.y * block.z;
    l.fibers.assign(count, Fiber{});
    l.ready.clear();
    l.waiting = 0;
    l.alive = count;
    for (unsigned i = 0; i < count; i++) {
        Fiber &f = l.fibers[i];
        f.linear = i;
        f.thread = {{i % block.x, i / block.x % block.y, i / (block.x * block.y)}, block, grid, index};
        start(l, f);
        l.ready.push_back(&f);
    }
    while (l.alive > 0) {
        if (l.ready.empty()) { l.error = stuck(l); return; }
        unsigned pick = draw(l, unsigned(l.ready.size()));
        l.current = l.ready[pick];
        l.ready[pick] = l.ready.back();
        l.ready.pop_back();
        emu_thread = &l.current->thread;
        emu_switch(&l.scheduler, l.current->stack_pointer);
        if (!l.error.empty()) return;
    }
    for (unsigned i = 0; i < count; i++)
        if (memcmp(stack_of(l, i), &CANARY, sizeof CANARY) != 0) l.error = "a thread's stack ran over";
}

// ---------------------------------------------------------------------------------------------
// Guarded memory: [no access][guard bytes, data, guard bytes][no access], the data at the far end.

struct Buffer { size_t bytes; char *data; size_t mapped; char *base; std::string name; };
static std::mutex buffers_lock;
static std::map<uintptr_t, Buffer> buffers;
constexpr unsigned char GUARD = 0xA5;

extern "C" void *emu_allocate(size_t bytes, const char *name) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + 15) / 16 * 16;
    size_t inner = (room + 64 + page - 1) / page * page;
    char *base = (char *)mmap(nullptr, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + page, inner, PROT_READ | PROT_WRITE) != 0) return nullptr;
    memset(base + page, GUARD, inner);
    char *data = base + page + inner - room;
    std::lock_guard<std::mutex> hold(buffers_lock);
    buffers[(uintptr_t)data] = {bytes, data, inner + 2 * page, base, name};
    return data;
}

// Releases a buffer; says which byte beside it was written, if any.
extern "C" const char *emu_free(void *pointer) {
    static thread_local std::string message;
    std::lock_guard<std::mutex> hold(buffers_lock);
    auto found = buffers.find((uintptr_t)pointer);
    if (found == buffers.end()) return "not a buffer of the emulator";
    const Buffer b = found->second;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    message.clear();
    for (char *at = b.base + page; at < b.base + b.mapped - page; at++) {
        if (at >= b.data && at < b.data + b.bytes) { at = b.data + b.bytes - 1; continue; }
        if ((unsigned char)*at == GUARD) continue;
        message = "`" + b.name + "` of " + std::to_string(b.bytes) + " bytes was written at byte " +
                  std::to_string(at - b.data);
        break;
    }
    munmap(b.base, b.mapped);
    buffers.erase(found);
    return message.empty() ? nullptr : message.c_str();
}

static std::string nearest(void *address) {
    std::lock_guard<std::mutex> hold(buffers_lock);
    for (auto &[start, b] : buffers) {
        char *at = (char *)address;
        if (at < b.base || at >= b.base + b.mapped) continue;
        return "byte " + std::to_string(at - b.data) + " of `" + b.name + "`, which has " +
               std::to_string(b.bytes);
    }
    return "no buffer";
}

static void on_fault(int signal, siginfo_t *info, void *) {
    Launch *l = launch_here;
    if (!l) {
        ::signal(signal, SIG_DFL);
        return;
    }
    l->fault_signal = signal;
    l->fault_address = info->si_addr;
    siglongjmp(l->fault, 1);
}

static void catch_faults() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_NODEFER;
        for (int s : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP}) sigaction(s, &action, nullptr);
    });
}

// ---------------------------------------------------------------------------------------------

static void run_grid(Launch &l, dim3 grid, dim3 block, unsigned shared_bytes,
                     unsigned char *dynamic_shared, size_t dynamic_capacity, void (*poison)()) {
    uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z, turn = draw(l, 1u << 30) % blocks;
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t at = (i + turn) % blocks;
        poison();
        run_block(l, grid, block, {unsigned(at % grid.x), unsigned(at / grid.x % grid.y),
                                   unsigned(at / (uint64_t(grid.x) * grid.y))});
        if (!l.error.empty()) return;
        for (size_t b = shared_bytes; b < dynamic_capacity; b++) {
            if (dynamic_shared[b] == 0xFF) continue;
            l.error = "byte " + std::to_string(b) + " of shared memory was written, of " +
                      std::to_string(shared_bytes) + " asked for";
            return;
        }
    }
}

extern "C" const char *emu_launch(void (*kernel)(void **), void **parameters, dim3 grid, dim3 block,
                                  unsigned shared_bytes, uint64_t seed, unsigned char *dynamic_shared,
                                  size_t dynamic_capacity, void (*poison)()) {
    static thread_local std::string message;
    unsigned threads = block.x * block.y * block.z;
    if (threads == 0 || threads > 1024 || uint64_t(grid.x) * grid.y * grid.z == 0)
        return "a grid or block of no threads, or of more than 1024 a block";
    if (shared_bytes > dynamic_capacity) return "more shared memory than any GPU has";
    catch_faults();
    auto l = std::make_unique<Launch>();
    l->kernel = kernel;
    l->parameters = parameters;
    l->random = seed * 0x9E3779B97F4A7C15ull + 1;
    l->stacks_bytes = STACK * threads;
    l->stacks = (char *)mmap(nullptr, l->stacks_bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (l->stacks == MAP_FAILED) return "no memory for the threads' stacks";
    launch_here = l.get();
    if (sigsetjmp(l->fault, 1) == 0) {
        run_grid(*l, grid, block, shared_bytes, dynamic_shared, dynamic_capacity, poison);
    } else {
        const char *what = l->fault_signal == SIGSEGV || l->fault_signal == SIGBUS
                               ? "read or wrote where it may not: "
                               : "did what C++ leaves undefined (misaligned address, index, shift): ";
        l->error = name_of(*l->current) + ": " + what + nearest(l->fault_address);
    }
    launch_here = nullptr;
    emu_thread = nullptr;
    munmap(l->stacks, l->stacks_bytes);
    message = l->error;
    return message.empty() ? nullptr : message.c_str();
}

}  // namespace emu

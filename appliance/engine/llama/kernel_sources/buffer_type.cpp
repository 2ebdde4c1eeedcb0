// The buffer type CPU_INTERLEAVED: ggml's extension point for weights that are laid out for own kernels
// (ggml/src/ggml-cpu/traits.h; llama.cpp's own repacked types come the same way).
//
// llama.cpp asks every extra buffer type in turn whether it multiplies a weight; this one is the last, so it
// gets what llama.cpp has no better layout for. A tensor is interleaved while it is loaded.

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <vector>

#include "ggml-backend-impl.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "matmul.h"

namespace outpost {

static std::atomic<bool> enabled{true};
static std::atomic<size_t> interleaved_bytes{0};

static MatMul<Q4_1> q4_1;
static MatMul<Q8_0> q8_0;

static ggml::cpu::tensor_traits * traits_of(const ggml_tensor * weights) {
    if (ggml_n_dims(weights) != 2 || weights->ne[1] % ROWS != 0) {
        return nullptr;
    }
    switch (weights->type) {
        case GGML_TYPE_Q4_1: return &q4_1;
        case GGML_TYPE_Q8_0: return &q8_0;
        default: return nullptr;
    }
}

static ggml_backend_buffer_type_t buffer_type();

static bool is_ours(const ggml_tensor * tensor) {
    return tensor->buffer != nullptr && tensor->buffer->buft == buffer_type();
}

struct Extra : ggml::cpu::extra_buffer_type {
    bool supports_op(ggml_backend_dev_t, const ggml_tensor * op) override {
        if (!enabled || op->op != GGML_OP_MUL_MAT || !is_ours(op->src[0]) || traits_of(op->src[0]) == nullptr) {
            return false;
        }
        const ggml_tensor * activations = op->src[1];
        return activations->type == GGML_TYPE_F32 &&
               (activations->buffer == nullptr || ggml_backend_buft_is_host(activations->buffer->buft));
    }

    ggml::cpu::tensor_traits * get_tensor_traits(const ggml_tensor * op) override {
        const bool is_known = op->op == GGML_OP_MUL_MAT && is_ours(op->src[0]);
        return is_known ? (ggml::cpu::tensor_traits *) op->src[0]->extra : nullptr;
    }
};

static ggml_status init_tensor(ggml_backend_buffer_t, ggml_tensor * tensor) {
    tensor->extra = traits_of(tensor);
    return GGML_STATUS_SUCCESS;
}

static void set_tensor(ggml_backend_buffer_t, ggml_tensor * tensor, const void * data, size_t offset, size_t size) {
    GGML_ASSERT(offset == 0 && size == ggml_nbytes(tensor));
    const int64_t blocks = tensor->ne[0] / BLOCK;
    if (tensor->type == GGML_TYPE_Q4_1) {
        interleave<Q4_1>((uint8_t *) tensor->data, data, tensor->ne[1], blocks);
    } else {
        interleave<Q8_0>((uint8_t *) tensor->data, data, tensor->ne[1], blocks);
    }
    interleaved_bytes += size;
}

static const char * name(ggml_backend_buffer_type_t) { return "CPU_INTERLEAVED"; }

static size_t alignment(ggml_backend_buffer_type_t) { return 64; }

// Every token reads all weights, so what it costs is the memory's speed: a fifth more of it with large pages.
static void prefer_large_pages(ggml_backend_buffer_t buffer) {
    constexpr uintptr_t PAGE = 4096;
    const auto base = (uintptr_t) ggml_backend_buffer_get_base(buffer);
    const uintptr_t begin = (base + PAGE - 1) / PAGE * PAGE;
    const uintptr_t end = (base + ggml_backend_buffer_get_size(buffer)) / PAGE * PAGE;
    if (begin < end) {
        madvise((void *) begin, end - begin, MADV_HUGEPAGE);  // a wish: refused, all stays as it is
    }
}

static ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t type, size_t size) {
    ggml_backend_buffer_t buffer = ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), size);
    if (buffer != nullptr) {
        buffer->buft = type;
        buffer->iface.init_tensor = init_tensor;
        buffer->iface.set_tensor = set_tensor;
        buffer->iface.get_tensor = nullptr;  // what is stored is not what was given
        buffer->iface.cpy_tensor = nullptr;
        prefer_large_pages(buffer);
    }
    return buffer;
}

static ggml_backend_buffer_type_t buffer_type() {
    static Extra extra;
    static ggml_backend_buffer_type type = {
        {name, alloc_buffer, alignment, nullptr, nullptr, nullptr},
        ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0),
        &extra,
    };
    return &type;
}

}  // namespace outpost

extern "C" {

// Before the first model is loaded, once: llama.cpp copies the list then. Returns the name of the kernels.
const char * outpost_kernels_install() {
    ggml_backend_cpu_get_extra_buffer_types().push_back(outpost::buffer_type());
    return OUTPOST_KERNELS;
}

// Whether models loaded from now on use them.
void outpost_kernels_enable(bool wanted) { outpost::enabled = wanted; }

// Bytes of weights laid out for them since the process began.
size_t outpost_kernels_bytes() { return outpost::interleaved_bytes; }

}

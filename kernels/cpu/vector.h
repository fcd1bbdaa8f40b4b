// Registers of the accumulation type, and scratch memory for them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace feature_pyramids {

// As long as the machine's registers: longer ones would be compiled to a detour through memory.
#if defined(__AVX__)
constexpr int64_t kRegisterBytes = 32;
#else
constexpr int64_t kRegisterBytes = 16;
#endif

// Unaligned, because it is also read from and written to tensors.
template <class T>
struct RegisterOf {
  typedef T type __attribute__((vector_size(kRegisterBytes), aligned(sizeof(T)), may_alias));
};

template <class T>
using Register = typename RegisterOf<T>::type;
template <class T>
constexpr int64_t kLength = kRegisterBytes / sizeof(T);

// Packed channels fill whole cache lines.
template <class T>
constexpr int64_t kLineLength = 64 / sizeof(T);

template <class T>
Register<T>& register_at(T* address) {
  return *reinterpret_cast<Register<T>*>(address);
}

template <class T>
const Register<T>& register_at(const T* address) {
  return *reinterpret_cast<const Register<T>*>(address);
}

#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 12)
#define FEATURE_PYRAMIDS_SHUFFLE(mask_type, first, second, ...) __builtin_shufflevector(first, second, __VA_ARGS__)
#else
#define FEATURE_PYRAMIDS_SHUFFLE(mask_type, first, second, ...) __builtin_shuffle(first, second, (mask_type){__VA_ARGS__})
#endif

typedef int32_t MaskOfFloats __attribute__((vector_size(kRegisterBytes)));
typedef int64_t MaskOfDoubles __attribute__((vector_size(kRegisterBytes)));

// Sums of neighbouring elements of both, within each 16 bytes first those of `first`, then those of `second`.
inline Register<float> add_pairs(const Register<float>& first, const Register<float>& second) {
#if defined(__AVX__)
  return FEATURE_PYRAMIDS_SHUFFLE(MaskOfFloats, first, second, 0, 2, 8, 10, 4, 6, 12, 14) +
         FEATURE_PYRAMIDS_SHUFFLE(MaskOfFloats, first, second, 1, 3, 9, 11, 5, 7, 13, 15);
#else
  return FEATURE_PYRAMIDS_SHUFFLE(MaskOfFloats, first, second, 0, 2, 4, 6) +
         FEATURE_PYRAMIDS_SHUFFLE(MaskOfFloats, first, second, 1, 3, 5, 7);
#endif
}

inline Register<double> add_pairs(const Register<double>& first, const Register<double>& second) {
#if defined(__AVX__)
  return FEATURE_PYRAMIDS_SHUFFLE(MaskOfDoubles, first, second, 0, 4, 2, 6) +
         FEATURE_PYRAMIDS_SHUFFLE(MaskOfDoubles, first, second, 1, 5, 3, 7);
#else
  return FEATURE_PYRAMIDS_SHUFFLE(MaskOfDoubles, first, second, 0, 2) +
         FEATURE_PYRAMIDS_SHUFFLE(MaskOfDoubles, first, second, 1, 3);
#endif
}

// The total of each of four registers, all at once because single totals would cost more than the sums before them.
inline void totals(const Register<float>* registers, float* results) {
  const Register<float> quarters =
      add_pairs(add_pairs(registers[0], registers[1]), add_pairs(registers[2], registers[3]));
  for (int64_t i = 0; i < 4; ++i) results[i] = kRegisterBytes == 32 ? quarters[i] + quarters[kLength<float> - 4 + i] : quarters[i];
}

inline void totals(const Register<double>* registers, double* results) {
  for (int64_t pair = 0; pair < 4; pair += 2) {
    const Register<double> halves = add_pairs(registers[pair], registers[pair + 1]);
    for (int64_t i = 0; i < 2; ++i)
      results[pair + i] = kRegisterBytes == 32 ? halves[i] + halves[kLength<double> - 2 + i] : halves[i];
  }
}

inline int64_t divide_up(int64_t number, int64_t divisor) { return (number + divisor - 1) / divisor; }
inline int64_t round_up(int64_t number, int64_t multiple) { return divide_up(number, multiple) * multiple; }
inline int64_t smaller(int64_t first, int64_t second) { return first < second ? first : second; }
inline int64_t larger(int64_t first, int64_t second) { return first > second ? first : second; }

// Memory that begins on a cache line's border, zero when it is new.
template <class T>
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(int64_t length) {
    const auto bytes = static_cast<size_t>(round_up(length * static_cast<int64_t>(sizeof(T)) + 64, 64));
    memory_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
    if (!memory_) throw std::bad_alloc();
    std::memset(memory_.get(), 0, bytes);
  }

  T* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  std::unique_ptr<T, Free> memory_;
};

}  // namespace feature_pyramids

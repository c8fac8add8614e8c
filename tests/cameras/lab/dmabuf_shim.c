/* Answers for /dev/udmabuf and /dev/dma_heap where the kernel has neither: buffers are plain memfds.
   LD_PRELOAD it. Both libcamera's virtual pipeline and picamera2's DmaAllocator then work unchanged. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
static int ours(const char *p) { return !strcmp(p, "/dev/udmabuf") || !strcmp(p, "/dev/dma_heap/linux,cma"); }
#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        static int (*real)(const char *, int, ...); \
        va_list a; va_start(a, flags); int mode = va_arg(a, int); va_end(a); \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        return real(ours(path) ? "/dev/null" : path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
int ioctl(int fd, unsigned long request, ...) {
    static int (*real)(int, unsigned long, ...);
    va_list a; va_start(a, request); void *arg = va_arg(a, void *); va_end(a);
    if (!real) real = dlsym(RTLD_NEXT, "ioctl");
    unsigned long r = request & 0xffffffffUL;
    if (r == (UDMABUF_CREATE & 0xffffffffUL)) return dup(((struct udmabuf_create *)arg)->memfd);
    if (r == (DMA_HEAP_IOCTL_ALLOC & 0xffffffffUL)) {
        struct dma_heap_allocation_data *d = arg;
        int m = memfd_create("dmabuf", MFD_CLOEXEC);
        if (m < 0 || ftruncate(m, d->len)) return -1;
        d->fd = m;
        return 0;
    }
    if (r == (DMA_BUF_IOCTL_SYNC & 0xffffffffUL) || r == (DMA_BUF_SET_NAME_A & 0xffffffffUL) || r == (DMA_BUF_SET_NAME_B & 0xffffffffUL)) return 0;
    return real(fd, request, arg);
}

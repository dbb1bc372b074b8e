#include "requests.h"

#include <linux/vhost.h>
#include <sys/ioctl.h>

#include <iterator>

#include "batch.h"

// What came after Linux 6.1, for builds against older headers (include/uapi/linux/vhost.h of Linux 7.2).
#ifndef VHOST_VDPA_RESUME  // Linux 6.3
#define VHOST_VDPA_RESUME _IO(VHOST_VIRTIO, 0x7E)
#endif
#ifndef VHOST_VDPA_GET_VRING_DESC_GROUP  // Linux 6.7
#define VHOST_VDPA_GET_VRING_DESC_GROUP _IOWR(VHOST_VIRTIO, 0x7F, struct vhost_vring_state)
#endif
#ifndef VHOST_VDPA_GET_VQS_COUNT
#define VHOST_VDPA_GET_VQS_COUNT _IOR(VHOST_VIRTIO, 0x80, __u32)
#endif
#ifndef VHOST_VDPA_GET_GROUP_NUM
#define VHOST_VDPA_GET_GROUP_NUM _IOR(VHOST_VIRTIO, 0x81, __u32)
#endif
#ifndef VHOST_VDPA_GET_VRING_SIZE  // Linux 6.9
#define VHOST_VDPA_GET_VRING_SIZE _IOWR(VHOST_VIRTIO, 0x82, struct vhost_vring_state)
#endif
#ifndef VHOST_SET_FORK_FROM_OWNER  // Linux 6.17
#define VHOST_SET_FORK_FROM_OWNER _IOW(VHOST_VIRTIO, 0x84, __u8)
#define VHOST_GET_FORK_FROM_OWNER _IOR(VHOST_VIRTIO, 0x85, __u8)
#endif

namespace vdpa {
namespace {

// Holds the header's number, and with it the size of the kernel's structure, against the literals of the row.
template <uint32_t kNumber, uint32_t kLiteral, uint32_t kSize>
constexpr uint32_t Checked() {
  static_assert(kNumber == kLiteral, "request number differs from the kernel's");
  static_assert(_IOC_SIZE(kNumber) == kSize, "argument size differs from the kernel's");
  return kNumber;
}

template <uint32_t kType, uint32_t kLiteral>
constexpr uint32_t Message() {
  static_assert(kType == kLiteral, "message type differs from the kernel's");
  return kType;
}

#define IOCTL(name, literal, size, value) {#name, Kind::kIoctl, Checked<name, literal, size>(), size, value}
// The number holds only the fixed part of these: {u32 off, u32 len}, followed by len bytes.
#define CONFIG(name, literal, value) {#name, Kind::kIoctl, Checked<name, literal, 8>(), kOwnLength, value}
#define IOTLB(name, literal) {#name, Kind::kIotlb, Message<name, literal>(), sizeof(IotlbArgument), kNoValue}

constexpr int32_t kNum = 4;  // vhost_vring_state {u32 index, u32 num}: the value read is num

}  // namespace

const Request kRequests[] = {
    {"open", Kind::kOpen, 0, kOwnLength, kNoValue},
    {"close", Kind::kClose, 0, 0, kNoValue},
    IOCTL(VHOST_GET_FEATURES, 0x8008af00, 8, 0),
    IOCTL(VHOST_SET_FEATURES, 0x4008af00, 8, kNoValue),
    IOCTL(VHOST_SET_OWNER, 0xaf01, 0, kNoValue),
    IOCTL(VHOST_RESET_OWNER, 0xaf02, 0, kNoValue),
    IOCTL(VHOST_SET_MEM_TABLE, 0x4008af03, 8, kNoValue),
    IOCTL(VHOST_SET_LOG_BASE, 0x4008af04, 8, kNoValue),
    IOCTL(VHOST_SET_LOG_FD, 0x4004af07, 4, kNoValue),
    IOCTL(VHOST_SET_VRING_NUM, 0x4008af10, 8, kNoValue),
    IOCTL(VHOST_SET_VRING_ADDR, 0x4028af11, 40, kNoValue),
    IOCTL(VHOST_SET_VRING_BASE, 0x4008af12, 8, kNoValue),
    IOCTL(VHOST_GET_VRING_BASE, 0xc008af12, 8, kNum),
    IOCTL(VHOST_SET_VRING_ENDIAN, 0x4008af13, 8, kNoValue),
    IOCTL(VHOST_GET_VRING_ENDIAN, 0x4008af14, 8, kNum),
    IOCTL(VHOST_SET_VRING_KICK, 0x4008af20, 8, kNoValue),
    IOCTL(VHOST_SET_VRING_CALL, 0x4008af21, 8, kNoValue),
    IOCTL(VHOST_SET_VRING_ERR, 0x4008af22, 8, kNoValue),
    IOCTL(VHOST_SET_VRING_BUSYLOOP_TIMEOUT, 0x4008af23, 8, kNoValue),
    IOCTL(VHOST_GET_VRING_BUSYLOOP_TIMEOUT, 0x4008af24, 8, kNum),
    IOCTL(VHOST_SET_BACKEND_FEATURES, 0x4008af25, 8, kNoValue),
    IOCTL(VHOST_GET_BACKEND_FEATURES, 0x8008af26, 8, 0),
    IOCTL(VHOST_VDPA_GET_DEVICE_ID, 0x8004af70, 4, 0),
    IOCTL(VHOST_VDPA_GET_STATUS, 0x8001af71, 1, 0),
    IOCTL(VHOST_VDPA_SET_STATUS, 0x4001af72, 1, kNoValue),
    CONFIG(VHOST_VDPA_GET_CONFIG, 0x8008af73, kConfigHeader),
    CONFIG(VHOST_VDPA_SET_CONFIG, 0x4008af74, kNoValue),
    IOCTL(VHOST_VDPA_SET_VRING_ENABLE, 0x4008af75, 8, kNoValue),
    IOCTL(VHOST_VDPA_GET_VRING_NUM, 0x8002af76, 2, 0),
    IOCTL(VHOST_VDPA_SET_CONFIG_CALL, 0x4004af77, 4, kNoValue),
    IOCTL(VHOST_VDPA_GET_IOVA_RANGE, 0x8010af78, 16, 0),
    IOCTL(VHOST_VDPA_GET_CONFIG_SIZE, 0x8004af79, 4, 0),
    IOCTL(VHOST_VDPA_GET_AS_NUM, 0x8004af7a, 4, 0),
    IOCTL(VHOST_VDPA_GET_VRING_GROUP, 0xc008af7b, 8, kNum),
    IOCTL(VHOST_VDPA_SET_GROUP_ASID, 0x4008af7c, 8, kNoValue),
    IOCTL(VHOST_VDPA_SUSPEND, 0xaf7d, 0, kNoValue),
    IOCTL(VHOST_VDPA_RESUME, 0xaf7e, 0, kNoValue),
    IOCTL(VHOST_VDPA_GET_VRING_DESC_GROUP, 0xc008af7f, 8, kNum),
    IOCTL(VHOST_VDPA_GET_VQS_COUNT, 0x8004af80, 4, 0),
    IOCTL(VHOST_VDPA_GET_GROUP_NUM, 0x8004af81, 4, 0),
    IOCTL(VHOST_VDPA_GET_VRING_SIZE, 0xc008af82, 8, kNum),
    IOCTL(VHOST_SET_FORK_FROM_OWNER, 0x4001af84, 1, kNoValue),
    IOCTL(VHOST_GET_FORK_FROM_OWNER, 0x8001af85, 1, 0),
    IOTLB(VHOST_IOTLB_UPDATE, 2),
    IOTLB(VHOST_IOTLB_INVALIDATE, 3),
    IOTLB(VHOST_IOTLB_BATCH_BEGIN, 5),
    IOTLB(VHOST_IOTLB_BATCH_END, 6),
};
const size_t kRequestCount = std::size(kRequests);

// The message that IOTLB rows become: 72 bytes, whose return value is 72 as well.
static_assert(sizeof(vhost_msg_v2) == 72 && VHOST_IOTLB_MSG_V2 == 2);
static_assert(offsetof(vhost_msg_v2, asid) == 4 && offsetof(vhost_msg_v2, iotlb) == 8);
static_assert(offsetof(vhost_iotlb_msg, iova) == 0 && offsetof(vhost_iotlb_msg, size) == 8);
static_assert(offsetof(vhost_iotlb_msg, uaddr) == 16 && offsetof(vhost_iotlb_msg, perm) == 24);
static_assert(offsetof(vhost_iotlb_msg, type) == 25);
static_assert(VHOST_ACCESS_RO == 1 && VHOST_ACCESS_WO == 2 && VHOST_ACCESS_RW == 3);

// Unlike in the virtqueue's own layout, the used ring stands before the avail ring.
static_assert(offsetof(vhost_vring_addr, desc_user_addr) == 8 && offsetof(vhost_vring_addr, used_user_addr) == 16);
static_assert(offsetof(vhost_vring_addr, avail_user_addr) == 24 && offsetof(vhost_vring_addr, log_guest_addr) == 32);
static_assert(offsetof(vhost_vdpa_config, buf) == kConfigHeader && sizeof(vhost_vdpa_iova_range) == 16);

}  // namespace vdpa

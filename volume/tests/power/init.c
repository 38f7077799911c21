/* The first process of a guest that only writes to its home, for `record.sh`.
 *
 * It appends numbered records to a log, with an fsync after each. It replaces a file by rename, with
 * an fsync before. It creates, renames and deletes other files without fsync. After each fsync has
 * returned, it writes the number directly to the disk, beyond the file system: every prefix of the
 * disk's writes that contains this mark must contain what the fsync covered. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RECORDS 500
#define MARK_OFFSET (32L << 20)

static void check(int good, const char *what) {
    if (!good) { perror(what); reboot(RB_POWER_OFF); }
}

static void load(const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/modules/%s.ko", name);
    int file = open(path, O_RDONLY);
    check(file >= 0 && syscall(SYS_finit_module, file, "", 0) == 0, name);
    close(file);
}

static void fill(const char *path, unsigned number, unsigned bytes) {
    char text[4096];
    for (unsigned at = 0; at < sizeof text; at += 16) snprintf(text + at, 17, "file %010u", number);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    check(file >= 0, path);
    for (unsigned left = bytes; left > 0;) {
        unsigned part = left < sizeof text ? left : sizeof text;
        check(write(file, text, part) == (int)part, path);
        left -= part;
    }
    close(file);
}

int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    load("virtio_ring"), load("virtio"), load("virtio_mmio"), load("virtio_blk");
    check(mount("dev", "/dev", "devtmpfs", 0, 0) == 0 || access("/dev/vda", F_OK) == 0, "/dev");
    for (int tries = 0; access("/dev/vda", F_OK) != 0 && tries < 500; tries++) usleep(10000);
    check(mount("/dev/vda", "/home", "ext4", 0, "commit=1") == 0, "/home");
    int disk = open("/dev/vda", O_WRONLY | O_DIRECT);
    check(disk >= 0, "/dev/vda");
    char *mark;
    check(posix_memalign((void **)&mark, 4096, 4096) == 0, "mark");
    check(chdir("/home") == 0 && mkdir("churn", 0755) == 0, "churn");
    int home = open(".", O_RDONLY | O_DIRECTORY);
    int log = open("log", O_WRONLY | O_CREAT | O_APPEND, 0644);
    check(log >= 0 && fsync(log) == 0 && fsync(home) == 0, "log");
    srandom(7);
    for (unsigned number = 1; number <= RECORDS; number++) {
        char path[64], other[64], record[33];
        snprintf(path, sizeof path, "churn/%u", (unsigned)random() % 60);
        snprintf(other, sizeof other, "churn/%u", (unsigned)random() % 60);
        switch (random() % 4) {
        case 0: rename(path, other); break;
        case 1: unlink(path); break;
        default: fill(path, number, random() % 20000); break;
        }
        snprintf(record, sizeof record, "record %024u\n", number);
        check(write(log, record, 32) == 32 && fsync(log) == 0, "record");
        if (number % 8 == 0) {
            fill("beside", number, 6000);
            int beside = open("beside", O_WRONLY);
            check(fsync(beside) == 0 && rename("beside", "current") == 0 && fsync(home) == 0, "current");
            close(beside);
        }
        memset(mark, 0, 4096);
        memcpy(mark, &number, sizeof number);
        check(pwrite(disk, mark, 4096, MARK_OFFSET) == 4096, "mark");
        if (number % 100 == 0) printf("%u records\n", number);
    }
    printf("recorded\n");
    for (;;) pause();
}

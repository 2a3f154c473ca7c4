/* Keys for vmon's guest tests: one of type user with a time-out, one revoked; their serial numbers are printed. */
#include <linux/keyctl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static int add(const char *type, const char *name, const void *data, int size)
{
	return syscall(SYS_add_key, type, name, data, size, KEY_SPEC_USER_KEYRING);
}

int main(int count, char **words)
{
	int timed, revoked, ring;

	if (count > 1) {
		syscall(SYS_keyctl, KEYCTL_CLEAR, KEY_SPEC_USER_KEYRING);
		return 0;
	}
	timed = add("user", "vmon:timed", "secret", 6);
	revoked = add("user", "vmon:revoked", "secret", 6);
	ring = add("keyring", "vmon:ring", NULL, 0);
	syscall(SYS_keyctl, KEYCTL_SET_TIMEOUT, timed, 3600);
	syscall(SYS_keyctl, KEYCTL_REVOKE, revoked);
	printf("%d %d %d\n", timed, revoked, ring);
	return timed < 0 || revoked < 0 || ring < 0;
}

/* Paths: climbs from a dentry to the root of the mount tree, as fs/d_path.c does. Runs with interrupts off, which keeps
 * the names that it points to from being freed (they wait for RCU). A rename meanwhile can mix old and new names.
 */
#include "probe.h"

static void add(struct path *path, u64 dentry)
{
	struct part *part = &path->parts[path->count++];
	u32 len = LOAD(u32, dentry, AT.dentry_name_len);

	part->name = (const u8 *)LOAD(u64, dentry, AT.dentry_name);
	part->len = len < MAX_NAME ? len : MAX_NAME;
	path->len += part->len + 1;
}

/* `vfsmount` may be 0: then the path is the one within its file system. */
void path_walk(struct path *path, u64 vfsmount, u64 dentry)
{
	u64 mount = vfsmount ? vfsmount - AT.mount_mnt : 0;
	u32 step;

	path->count = path->len = path->cut = 0;
	for (step = 0; step < MAX_STEPS && kernel_pointer(dentry); step++) {
		u64 parent = LOAD(u64, dentry, AT.dentry_parent);
		u64 root = vfsmount ? LOAD(u64, vfsmount, AT.vfsmount_root) : parent == dentry ? dentry : 0;

		if (dentry == root || dentry == parent) {
			u64 above = mount ? LOAD(u64, mount, AT.mount_parent) : 0;

			if (!above || above == mount)
				return;
			dentry = LOAD(u64, mount, AT.mount_mountpoint);
			mount = above;
			vfsmount = mount + AT.mount_mnt;
			continue;
		}
		if (path->count == MAX_PARTS)
			break;
		add(path, dentry);
		dentry = parent;
	}
	path->cut = 1;
}

/* Writes "/a/b", or "/" for the root itself; gives the length. */
u32 path_write(const struct path *path, u8 *to, u32 room)
{
	u32 at = 0, i, j;

	if (!path->count && room)
		to[at++] = '/';
	for (i = path->count; i-- > 0;) {
		const struct part *part = &path->parts[i];

		if (at < room)
			to[at++] = '/';
		for (j = 0; j < part->len && at < room; j++) {
			u8 c = LOAD(u8, part->name, j);

			if (!c)
				break;
			to[at++] = c;
		}
	}
	return at;
}

/* Compares from the front; `len` characters of `text`. */
static u32 starts_with(const struct path *path, const char *text, u32 len)
{
	u32 at = 0, i, j;

	for (i = path->count; i-- > 0 && at < len;) {
		const struct part *part = &path->parts[i];

		if (LOAD(u8, text, at++) != '/')
			return 0;
		for (j = 0; j < part->len && at < len; j++)
			if (LOAD(u8, part->name, j) != LOAD(u8, text, at++))
				return 0;
	}
	return at == len;
}

static u32 ends_with(const struct path *path, const char *text, u32 len)
{
	u32 left = len, i, j;

	for (i = 0; i < path->count && left; i++) {
		const struct part *part = &path->parts[i];

		for (j = part->len; j-- > 0 && left;)
			if (LOAD(u8, part->name, j) != LOAD(u8, text, --left))
				return 0;
		if (left && LOAD(u8, text, --left) != '/')
			return 0;
	}
	return !left;
}

u32 path_matches(const struct path *path, const char *text, u32 len, u32 how)
{
	u32 own = path->count ? path->len : 1;

	if (path->cut && how != VMON_MATCH_SUFFIX)
		return 0;
	if (!path->count)
		return how == VMON_MATCH_PATH ? len == 1 && LOAD(u8, text, 0) == '/' : len <= 1;
	if (own < len || (how == VMON_MATCH_PATH && own != len))
		return 0;
	return how == VMON_MATCH_SUFFIX ? ends_with(path, text, len) : starts_with(path, text, len);
}

/* Paths: climbs from a dentry to the root of the mount tree, as fs/d_path.c does. Runs with preemption off, which
 * keeps the names that it points to from being freed (they wait for RCU). A rename meanwhile can mix old and new names.
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

void path_walk(struct path *path, u64 vfsmount, u64 dentry)
{
	u64 mount = vfsmount ? vfsmount - AT.mount_mnt : 0, root = vfsmount ? LOAD(u64, vfsmount, AT.vfsmount_root) : 0;
	u32 step;

	path->count = path->len = path->cut = 0;
	for (step = 0; step < MAX_STEPS && kernel_pointer(dentry); step++) {
		u64 parent = LOAD(u64, dentry, AT.dentry_parent);

		if (dentry == root || dentry == parent) {
			u64 above = mount ? LOAD(u64, mount, AT.mount_parent) : 0;

			if (!above || above == mount)
				return;
			dentry = LOAD(u64, mount, AT.mount_mountpoint);
			mount = above;
			root = LOAD(u64, mount + AT.mount_mnt, AT.vfsmount_root);
			continue;
		}
		if (path->count == MAX_PARTS)
			break;
		add(path, dentry);
		dentry = parent;
	}
	path->cut = 1;
}

/* The last bytes of a name, fewer than eight, as one word. Names lie in whole words; others are read byte by byte. */
static u64 tail(const u8 *name, u32 len)
{
	u64 word = 0;
	u32 i;

	if (!((u64)name & 7))
		return LOAD(u64, name, 0) & ~0ul >> (64 - 8 * len);
	for (i = 0; i < len; i++)
		word |= (u64)LOAD(u8, name, i) << 8 * i;
	return word;
}

static u32 same(const u8 *name, const char *text, u32 len)
{
	u32 i;

	for (; len >= 8; len -= 8, name += 8, text += 8)
		if (LOAD(u64, name, 0) != LOAD(u64, text, 0))
			return 0;
	for (i = 0; i < len; i++)
		if (LOAD(u8, name, i) != LOAD(u8, text, i))
			return 0;
	return 1;
}

u64 name_hash(const u8 *name, u32 len)
{
	u64 hash = len;

	for (; len >= 8; len -= 8, name += 8) {
		hash = (hash ^ LOAD(u64, name, 0)) * VMON_MIX;
		hash ^= hash >> 32;
	}
	if (len) {
		hash = (hash ^ tail(name, len)) * VMON_MIX;
		hash ^= hash >> 32;
	}
	return hash;
}

u64 path_leaf_hash(const struct path *path)
{
	const struct part *part = path->parts;
	u32 from = 0, i;

	if (!path->count)
		return name_hash(0, 0);
	/* The name of a unix socket is one part with slashes in it. */
	if (path->count == 1)
		for (i = 0; i < part->len; i++)
			if (LOAD(u8, part->name, i) == '/')
				from = i + 1;
	return name_hash(part->name + from, part->len - from);
}

/* Of the last name alone: no climbing, but out of the root of a mount. */
u64 place_leaf_hash(u64 vfsmount, u64 dentry)
{
	struct path path;
	u64 name;
	u32 len;

	if (!kernel_pointer(dentry) || LOAD(u64, dentry, AT.dentry_parent) == dentry ||
	    (vfsmount && LOAD(u64, vfsmount, AT.vfsmount_root) == dentry)) {
		path_walk(&path, vfsmount, dentry);
		return path_leaf_hash(&path);
	}
	name = LOAD(u64, dentry, AT.dentry_name);
	len = LOAD(u32, dentry, AT.dentry_name_len);
	return name_hash((const u8 *)name, len < MAX_NAME ? len : MAX_NAME);
}

/* Writes "/a/b", or "/" for the root itself; gives the length. */
u32 path_write(const struct path *path, u8 *to, u32 room)
{
	u32 at = 0, i, j;

	if (!path->count && room)
		to[at++] = '/';
	for (i = path->count; i-- > 0;) {
		const struct part *part = &path->parts[i];
		const u8 *name = part->name;
		u32 len = part->len;

		if (at < room)
			to[at++] = '/';
		if (len > room - at)
			len = room - at;
		if (!((u64)name & 7) && room - at >= ((len + 7) & ~7u))
			/* What is too much is written over by what follows. */
			for (j = 0; j < len; j += 8)
				*(u64 *)(to + at + j) = LOAD(u64, name, j);
		else
			for (j = 0; j < len; j++)
				to[at + j] = LOAD(u8, name, j);
		at += len;
	}
	return at;
}

u32 path_starts_with(const struct path *path, const char *text, u32 len)
{
	u32 at = 0, i;

	if (path->cut || (path->count ? path->len : 1) < len)
		return 0;
	if (!path->count)
		return !len || LOAD(u8, text, 0) == '/';
	for (i = path->count; i-- > 0 && at < len;) {
		const struct part *part = &path->parts[i];
		u32 some;

		if (LOAD(u8, text, at++) != '/')
			return 0;
		some = part->len < len - at ? part->len : len - at;
		if (!same(part->name, text + at, some))
			return 0;
		at += some;
	}
	return at == len;
}

u32 path_ends_with(const struct path *path, const char *text, u32 len)
{
	u32 left = len, i;

	if (!path->count)
		return !len || (len == 1 && LOAD(u8, text, 0) == '/');
	for (i = 0; i < path->count && left; i++) {
		const struct part *part = &path->parts[i];
		u32 some = part->len < left ? part->len : left;

		left -= some;
		if (!same(part->name + part->len - some, text + left, some))
			return 0;
		if (left && LOAD(u8, text, --left) != '/')
			return 0;
	}
	return !left;
}

u32 path_equals(const struct path *path, const char *text, u32 len)
{
	return (path->count ? path->len : 1) == len && path_starts_with(path, text, len);
}

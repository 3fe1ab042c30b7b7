using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <content>File operations.</content>
public static partial class LlbJson
{
    /// <summary>Writes a file operation.</summary>
    public static void Write(CanonicalJsonWriter json, FileOp file)
    {
        json.WriteStartObject();
        List(json, "actions", file.Actions, static (json, action) =>
        {
            json.WriteStartObject();
            Number(json, "input", action.Input);
            Number(json, "secondaryInput", action.SecondaryInput);
            Number(json, "output", action.Output);
            json.WriteName("Action");
            json.WriteStartObject();
            Message(json, "copy", action.Copy, Write);
            Message(json, "mkfile", action.Mkfile, Write);
            Message(json, "mkdir", action.Mkdir, Write);
            Message(json, "rm", action.Rm, Write);

            // A symbolic link has no name in this form and is lost; provenance and dumps agree on that.
            json.WriteEndObject();
            json.WriteEndObject();
        });
        json.WriteEndObject();
    }

    /// <summary>Writes a copy.</summary>
    public static void Write(CanonicalJsonWriter json, FileActionCopy copy)
    {
        json.WriteStartObject();
        json.WriteText("src", copy.Src);
        json.WriteText("dest", copy.Dest);
        Message(json, "owner", copy.Owner, Write);
        json.WriteNonZero("mode", copy.Mode);
        json.WriteTrue("followSymlink", copy.FollowSymlink);
        json.WriteTrue("dirCopyContents", copy.DirCopyContents);
        json.WriteTrue("attemptUnpackDockerCompatibility", copy.AttemptUnpackDockerCompatibility);
        json.WriteTrue("createDestPath", copy.CreateDestPath);
        json.WriteTrue("allowWildcard", copy.AllowWildcard);
        json.WriteTrue("allowEmptyWildcard", copy.AllowEmptyWildcard);
        json.WriteNonZero("timestamp", copy.Timestamp);
        json.WriteStrings("include_patterns", copy.IncludePatterns);
        json.WriteStrings("exclude_patterns", copy.ExcludePatterns);
        json.WriteTrue("alwaysReplaceExistingDestPaths", copy.AlwaysReplaceExistingDestPaths);
        json.WriteText("modeStr", copy.ModeStr);
        json.WriteEndObject();
    }

    /// <summary>Writes the making of a file.</summary>
    public static void Write(CanonicalJsonWriter json, FileActionMkFile mkfile)
    {
        json.WriteStartObject();
        json.WriteText("path", mkfile.Path);
        json.WriteNonZero("mode", mkfile.Mode);
        if (!mkfile.Data.IsEmpty)
        {
            json.WriteName("data");
            json.WriteBase64(mkfile.Data.Span);
        }

        Message(json, "owner", mkfile.Owner, Write);
        json.WriteNonZero("timestamp", mkfile.Timestamp);
        json.WriteEndObject();
    }

    /// <summary>Writes the making of a directory.</summary>
    public static void Write(CanonicalJsonWriter json, FileActionMkDir mkdir)
    {
        json.WriteStartObject();
        json.WriteText("path", mkdir.Path);
        json.WriteNonZero("mode", mkdir.Mode);
        json.WriteTrue("makeParents", mkdir.MakeParents);
        Message(json, "owner", mkdir.Owner, Write);
        json.WriteNonZero("timestamp", mkdir.Timestamp);
        json.WriteEndObject();
    }

    /// <summary>Writes the making of a symbolic link.</summary>
    public static void Write(CanonicalJsonWriter json, FileActionSymlink symlink)
    {
        json.WriteStartObject();
        json.WriteText("oldpath", symlink.Oldpath);
        json.WriteText("newpath", symlink.Newpath);
        Message(json, "owner", symlink.Owner, Write);
        json.WriteNonZero("timestamp", symlink.Timestamp);
        json.WriteEndObject();
    }

    /// <summary>Writes a removal.</summary>
    public static void Write(CanonicalJsonWriter json, FileActionRm rm)
    {
        json.WriteStartObject();
        json.WriteText("path", rm.Path);
        json.WriteTrue("allowNotFound", rm.AllowNotFound);
        json.WriteTrue("allowWildcard", rm.AllowWildcard);
        json.WriteEndObject();
    }

    private static void Write(CanonicalJsonWriter json, ChownOpt owner)
    {
        json.WriteStartObject();
        Message(json, "user", owner.User, Write);
        Message(json, "group", owner.Group, Write);
        json.WriteEndObject();
    }

    private static void Write(CanonicalJsonWriter json, UserOpt user)
    {
        json.WriteStartObject();
        json.WriteName("User");
        json.WriteStartObject();
        Message(json, "byName", user.ByName, static (json, name) =>
        {
            json.WriteStartObject();
            json.WriteText("name", name.Name);
            json.WriteNonZero("input", name.Input);
            json.WriteEndObject();
        });
        if (user.UserCase == UserOpt.UserOneofCase.ByID)
            json.WriteNonZero("byId", user.ByID);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void Number(CanonicalJsonWriter json, string name, long value)
    {
        json.WriteName(name);
        json.WriteNumber(value);
    }
}

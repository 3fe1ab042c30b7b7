using BuildKit.Protocol.Pb;

namespace BuildKit.Llb.Marshalling;

/// <summary>Canonical bytes of a file operation (fields: spec 02 §1.4).</summary>
internal static class FileWriter
{
    public static void Write(ProtoBuffer w, FileOp file)
    {
        foreach (var action in file.Actions)
            CanonicalOp.Nested(w, 2, action, Write);
    }

    private static void Write(ProtoBuffer w, Protocol.Pb.FileAction action)
    {
        w.Int(1, action.Input);
        w.Int(2, action.SecondaryInput);
        w.Int(3, action.Output);
        switch (action.ActionCase)
        {
            case Protocol.Pb.FileAction.ActionOneofCase.Copy:
                CanonicalOp.Nested(w, 4, action.Copy, Write);
                break;
            case Protocol.Pb.FileAction.ActionOneofCase.Mkfile:
                CanonicalOp.Nested(w, 5, action.Mkfile, Write);
                break;
            case Protocol.Pb.FileAction.ActionOneofCase.Mkdir:
                CanonicalOp.Nested(w, 6, action.Mkdir, Write);
                break;
            case Protocol.Pb.FileAction.ActionOneofCase.Rm:
                var rm = w.Begin(7);
                w.String(1, action.Rm.Path);
                w.Bool(2, action.Rm.AllowNotFound);
                w.Bool(3, action.Rm.AllowWildcard);
                w.End(rm);
                break;
            case Protocol.Pb.FileAction.ActionOneofCase.Symlink:
                var link = w.Begin(8);
                w.String(1, action.Symlink.Oldpath);
                w.String(2, action.Symlink.Newpath);
                Owner(w, 3, action.Symlink.Owner);
                w.Int(4, action.Symlink.Timestamp);
                w.End(link);
                break;
        }
    }

    private static void Write(ProtoBuffer w, FileActionCopy copy)
    {
        w.String(1, copy.Src);
        w.String(2, copy.Dest);
        Owner(w, 3, copy.Owner);
        w.Int(4, copy.Mode);
        w.Bool(5, copy.FollowSymlink);
        w.Bool(6, copy.DirCopyContents);
        w.Bool(7, copy.AttemptUnpackDockerCompatibility);
        w.Bool(8, copy.CreateDestPath);
        w.Bool(9, copy.AllowWildcard);
        w.Bool(10, copy.AllowEmptyWildcard);
        w.Int(11, copy.Timestamp);
        w.Strings(12, copy.IncludePatterns);
        w.Strings(13, copy.ExcludePatterns);
        w.Bool(14, copy.AlwaysReplaceExistingDestPaths);
        w.String(15, copy.ModeStr);
    }

    private static void Write(ProtoBuffer w, FileActionMkFile mkfile)
    {
        w.String(1, mkfile.Path);
        w.Int(2, mkfile.Mode);
        w.Bytes(3, mkfile.Data.Span);
        Owner(w, 4, mkfile.Owner);
        w.Int(5, mkfile.Timestamp);
    }

    private static void Write(ProtoBuffer w, FileActionMkDir mkdir)
    {
        w.String(1, mkdir.Path);
        w.Int(2, mkdir.Mode);
        w.Bool(3, mkdir.MakeParents);
        Owner(w, 4, mkdir.Owner);
        w.Int(5, mkdir.Timestamp);
    }

    private static void Owner(ProtoBuffer w, int field, ChownOpt? owner)
    {
        if (owner is null)
            return;
        var start = w.Begin(field);
        User(w, 1, owner.User);
        User(w, 2, owner.Group);
        w.End(start);
    }

    private static void User(ProtoBuffer w, int field, UserOpt? user)
    {
        if (user is null)
            return;
        var start = w.Begin(field);
        switch (user.UserCase)
        {
            case UserOpt.UserOneofCase.ByName:
                var name = w.Begin(1);
                w.String(1, user.ByName.Name);
                w.Int(2, user.ByName.Input);
                w.End(name);
                break;
            case UserOpt.UserOneofCase.ByID:
                w.Int(2, user.ByID, always: true); // a set member of a oneof is written even when it is 0
                break;
        }

        w.End(start);
    }
}

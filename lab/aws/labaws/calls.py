"""One request, read: service, action, who, which resources, and the IAM actions it needs."""

import json
import re
from urllib.parse import parse_qs

IDS = re.compile(
    r"\b(?:i|vpc|subnet|sg|sgr|igw|nat|rtb|rtbassoc|eipalloc|eipassoc|eni|vol|snap|ami|vpce|fl|key|acl|dopt)-[0-9a-f]{8,17}\b"
    r"|arn:aws[a-z-]*:[^\s<>\"'&]+"
)
CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/")
SERVICES = {"tagging": "tag"}
NAMED = ("RoleName", "InstanceProfileName", "PolicyName", "KeyName", "GroupName", "Name", "logGroupName", "UserName")
UNDER = {  # calls that IAM authorises under another action's name: service authorization reference
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListObjects": "s3:ListBucket",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:CopyObject": "s3:PutObject",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
}
NEEDS_NONE = {"sts:GetCallerIdentity", "sts:GetSessionToken"}


class Call:
    """Everything but the answer; `body` is the decoded request body."""

    def __init__(self, environ: dict, body: bytes):
        self.environ = environ
        self.body = body.decode("utf-8", "replace")
        found = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        self.key, self.region, scope = found.groups() if found else ("-", "-", "-")
        self.service = SERVICES.get(scope, scope)
        self.query = {}
        if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
            self.query = {key: values[0] for key, values in parse_qs(self.body, keep_blank_values=True).items()}
        self.action = self.named_action()

    def named_action(self) -> str:
        if "Action" in self.query:
            return self.query["Action"]
        target = self.environ.get("HTTP_X_AMZ_TARGET", "")
        if target:
            return target.rsplit(".", 1)[-1]
        if self.service == "s3":
            return s3_action(self.environ)
        return f"{self.environ['REQUEST_METHOD']} {self.environ.get('PATH_INFO', '')}"

    @property
    def changes(self) -> bool:
        return not self.action.startswith(("Describe", "Get", "List", "Head", "Filter"))

    def resources(self) -> list[str]:
        """Identifiers and names in the request, in order, each once."""
        values = [*self.query.values(), self.body if not self.query else ""]
        found = [match for value in values for match in IDS.findall(value)]
        found += [self.query[name] for name in NAMED if name in self.query]
        if self.environ.get("HTTP_X_AMZ_TARGET"):
            found += names_in(self.body)
        if self.service == "s3":
            found.append(self.environ.get("PATH_INFO", ""))
        return list(dict.fromkeys(found))

    def iam(self) -> list[str]:
        """The IAM actions that AWS would have to allow for this call."""
        own = f"{self.service}:{self.action}"
        if own in NEEDS_NONE:
            return []
        return [UNDER.get(own, own), *self.implied()]

    def implied(self) -> list[str]:
        """Tags set while creating, and roles handed to a service, are permissions of their own."""
        keys = " ".join(self.query)
        more = []
        if self.service == "ec2" and self.action != "CreateTags" and re.search(r"TagSpecifications?\.\d+\.Tag", keys):
            more.append("ec2:CreateTags")
        if self.service == "elasticloadbalancing" and self.action.startswith("Create") and "Tags." in keys:
            more.append("elasticloadbalancing:AddTags")
        if self.service == "iam" and self.action.startswith("Create") and "Tags." in keys:
            more.append(f"iam:Tag{self.action.removeprefix('Create')}")
        if self.service == "logs" and self.action == "CreateLogGroup" and '"tags"' in self.body:
            more.append("logs:TagResource")
        passes = "IamInstanceProfile" in keys or "DeliverLogsPermissionArn" in keys
        if passes or self.action == "AddRoleToInstanceProfile":
            more.append("iam:PassRole")
        return more


def names_in(body: str) -> list[str]:
    try:
        given = json.loads(body or "{}")
    except ValueError:
        return []
    return [value for key, value in given.items() if key in NAMED and isinstance(value, str)]


def s3_action(environ: dict) -> str:
    """Path-style requests only: what the lab's clients send."""
    method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
    parts = environ.get("PATH_INFO", "/").strip("/").split("/", 1)
    if parts == [""]:
        return "ListBuckets"
    if len(parts) == 1:
        actions = {"GET": "ListObjectsV2", "HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}
        sub = {"versioning": "BucketVersioning", "location": "BucketLocation", "tagging": "BucketTagging"}
        for key, name in sub.items():
            if key in query:
                return ("Get" if method == "GET" else "Put") + name
        return "DeleteObjects" if method == "POST" else actions.get(method, method)
    actions = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
    return actions.get(method, "CompleteMultipartUpload" if "uploadId" in query else "CreateMultipartUpload")
